"""One node of the demo, as a process: ``python -m slurp_leader.demo.node ENDPOINT NAME ROOT``."""

from __future__ import annotations

import signal
import sys
from datetime import timedelta
from pathlib import Path

from slurp_leader.election.options import ElectionOptions
from slurp_leader.etcd import EtcdOptions
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.settings import SlurpSettings
from slurp_leader.settings.node import NodeOptions
from slurp_leader.settings.sections import GeneratorOptions, LogsOptions, TelemetryOptions
from slurp_leader.signals import Signals
from slurp_leader.system import SlurpLeaderSystem
from slurp_leader.telemetry.logs import configure_logging

CLUSTER = "demo"
LEASE_TTL_S = 3
"""The shortest that is allowed. A killed leader is missed at once; this counts where its crash guard cannot run."""


def demo_settings(endpoint: str, name: str, root: Path) -> SlurpSettings:
    """The settings of everybody in the demo.

    Built without environment and settings files: those may name an etcd that is none of our business.
    """
    return SlurpSettings.model_construct(
        node=NodeOptions(id=name, cluster_id=CLUSTER),
        etcd=EtcdOptions(endpoints=[endpoint]),
        election=ElectionOptions(lease_ttl=timedelta(seconds=LEASE_TTL_S)),
        jobs=JobsOptions(drain_timeout=timedelta(seconds=2)),
        generator=GeneratorOptions(workspace_root=root),
        logs=LogsOptions(),
        telemetry=TelemetryOptions(),
    )


def run_node(endpoint: str, name: str, root: Path) -> None:
    """Stand for election, and run the queue while leading, until SIGTERM."""
    configure_logging(node_id=name)
    with Signals([signal.SIGTERM]) as signals, SlurpLeaderSystem(demo_settings(endpoint, name, root)):
        signals.first.wait()


if __name__ == "__main__":
    run_node(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
