"""Leader election on etcd leases, and a durable job queue that only the leader runs.

::

    from slurp_leader import LeaderElection, SlurpLeaderSystem

Start reading at `slurp_leader.system.system`: the life of one request. `slurp_leader.election` says what leading means
and what is promised, `slurp_leader.jobs` the same for jobs, `slurp_leader.store` what both need from etcd.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slurp_leader.election import ElectionOptions, ElectionState, LeaderChanged, LeaderInfo, StateChanged
    from slurp_leader.errors import (
        ConfigurationError,
        FileRefusedError,
        HandoverError,
        JobCancelledError,
        JobFailedError,
        JobInterrupted,
        LeadershipLostError,
        LifecycleError,
        NoLeaderError,
        NotLeaderError,
        OrderRefusedError,
        QueueFullError,
        ResultPendingError,
        RetryAfterError,
        SlurpLeaderError,
        StaleTokenError,
        StoreError,
        TerminalError,
    )
    from slurp_leader.fencing import FenceGate, FenceMiddleware, MemoryFence, SqlFence, fence_headers
    from slurp_leader.generators import FileContextGenerator, Generator
    from slurp_leader.jobs.client import JobHandle
    from slurp_leader.jobs.context import JobContext
    from slurp_leader.jobs.records import JobStatus
    from slurp_leader.jobs.request import ContextGenerationRequest, Priority
    from slurp_leader.jobs.result import ContextGenerationResult, ContextNode
    from slurp_leader.settings import SlurpSettings
    from slurp_leader.system import Elections, LeaderElection, LeaderObserver, SlurpLeaderSystem
    from slurp_leader.system.leader_view import LeaderControl
    from slurp_leader.term import Term
    from slurp_leader.ucxl import UcxlAddress

__version__ = "0.1.0"

_HOME = {
    "ConfigurationError": "errors",
    "ContextGenerationRequest": "jobs.request",
    "ContextGenerationResult": "jobs.result",
    "ContextNode": "jobs.result",
    "ElectionOptions": "election",
    "ElectionState": "election",
    "Elections": "system",
    "FenceGate": "fencing",
    "FenceMiddleware": "fencing",
    "FileContextGenerator": "generators",
    "FileRefusedError": "errors",
    "Generator": "generators",
    "HandoverError": "errors",
    "JobCancelledError": "errors",
    "JobContext": "jobs.context",
    "JobFailedError": "errors",
    "JobHandle": "jobs.client",
    "JobInterrupted": "errors",
    "JobStatus": "jobs.records",
    "LeaderChanged": "election",
    "LeaderControl": "system.leader_view",
    "LeaderElection": "system",
    "LeaderInfo": "election",
    "LeaderObserver": "system",
    "LeadershipLostError": "errors",
    "LifecycleError": "errors",
    "MemoryFence": "fencing",
    "NoLeaderError": "errors",
    "NotLeaderError": "errors",
    "OrderRefusedError": "errors",
    "Priority": "jobs.request",
    "QueueFullError": "errors",
    "ResultPendingError": "errors",
    "RetryAfterError": "errors",
    "SlurpLeaderError": "errors",
    "SlurpLeaderSystem": "system",
    "SlurpSettings": "settings",
    "SqlFence": "fencing",
    "StaleTokenError": "errors",
    "StateChanged": "election",
    "StoreError": "errors",
    "Term": "term",
    "TerminalError": "errors",
    "UcxlAddress": "ucxl",
    "fence_headers": "fencing",
}
"""Where each public name lives. Loaded on first use: `import slurp_leader` alone costs next to nothing."""

__all__ = [
    "ConfigurationError",
    "ContextGenerationRequest",
    "ContextGenerationResult",
    "ContextNode",
    "ElectionOptions",
    "ElectionState",
    "Elections",
    "FenceGate",
    "FenceMiddleware",
    "FileContextGenerator",
    "FileRefusedError",
    "Generator",
    "HandoverError",
    "JobCancelledError",
    "JobContext",
    "JobFailedError",
    "JobHandle",
    "JobInterrupted",
    "JobStatus",
    "LeaderChanged",
    "LeaderControl",
    "LeaderElection",
    "LeaderInfo",
    "LeaderObserver",
    "LeadershipLostError",
    "LifecycleError",
    "MemoryFence",
    "NoLeaderError",
    "NotLeaderError",
    "OrderRefusedError",
    "Priority",
    "QueueFullError",
    "ResultPendingError",
    "RetryAfterError",
    "SlurpLeaderError",
    "SlurpLeaderSystem",
    "SlurpSettings",
    "SqlFence",
    "StaleTokenError",
    "StateChanged",
    "StoreError",
    "Term",
    "TerminalError",
    "UcxlAddress",
    "fence_headers",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
