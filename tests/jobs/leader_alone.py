"""A program that leads, and runs one job in a worker process, until it is killed. The body is its own."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from jobs import bodies
from jobs.threaded import cluster_on
from slurp_leader.jobs import JobContext, NewJob
from slurp_leader.jobs.records import Spec
from slurp_leader.resources import ProcessTree
from slurp_leader.store.memory import MemoryStore


def work(spec: Spec, job: JobContext) -> Any:
    return bodies.work(spec, job)


def main() -> None:
    with cluster_on(MemoryStore()) as cluster:
        cluster.engine(work, executor="processes", processes=ProcessTree())
        cluster.client().submit(NewJob({"do": "family", "folder": sys.argv[1]}))
        threading.Event().wait()


if __name__ == "__main__":
    main()
