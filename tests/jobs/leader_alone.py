"""A program that leads, and runs one job in a worker process, until it is killed. The body is its own."""

from __future__ import annotations

import os
import signal
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
from support.waiting import until


def work(spec: Spec, job: JobContext) -> Any:
    return bodies.work(spec, job)


def main() -> None:
    folder = Path(sys.argv[1])
    with cluster_on(MemoryStore()) as cluster:
        cluster.engine(work, executor="processes", processes=ProcessTree())
        cluster.client().submit(NewJob({"do": "family", "folder": str(folder)}))
        until((folder / "begun").exists)
        if os.fork() == 0:  # it has copies of all that is open here, the way to the worker too
            bodies.tell(folder, "forked", os.getpid())
            signal.pause()
        threading.Event().wait()


if __name__ == "__main__":
    main()
