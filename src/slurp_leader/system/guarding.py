"""The crash guard of a node, where there can be one."""

from __future__ import annotations

import logging

from slurp_leader.clock import Clock
from slurp_leader.guard.shared import SharedGuard
from slurp_leader.settings import SlurpSettings
from slurp_leader.telemetry.events import LogEvent, log_event

_logger = logging.getLogger("slurp_leader.system")


def guard_of(settings: SlurpSettings, clock: Clock) -> SharedGuard | None:
    """A share in the crash guard of this process; None where it is switched off, or cannot reach etcd by itself.

    It starts with the first lease, and ends when the last share was released.
    """
    if not settings.election.guard:
        return None
    from slurp_leader.etcd.route import route_of  # gRPC takes long to import: only who connects waits for it

    try:
        return SharedGuard(route_of(settings.etcd), clock)
    except OSError as error:
        log_event(_logger, logging.WARNING, LogEvent.GUARD_UNAVAILABLE, problem=str(error))
        return None
