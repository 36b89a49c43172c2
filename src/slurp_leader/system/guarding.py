"""The crash guard of a node, where there can be one."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from slurp_leader.clock import Clock
from slurp_leader.guard.shared import SharedGuard
from slurp_leader.settings import SlurpSettings
from slurp_leader.system.connection import StoreFactory
from slurp_leader.telemetry.events import LogEvent, log_event

_logger = logging.getLogger("slurp_leader.system")

_UNTOLD = (
    "the stores that were handed in may not lead to the etcd of the settings, so there is no crash guard and a crash "
    "costs the TTL; pass reaches_etcd=True if they do, and False if not"
)


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether a guard, which connects by itself, would find there what the stores hold.

    Attributes:
        is_sure: It would.
        is_told: Somebody has said so, or that it would not.
    """

    is_sure: bool = True
    is_told: bool = True

    @classmethod
    def of(cls, stores: StoreFactory | None, reaches_etcd: bool | None) -> Reach:
        """By what a face was made with. Stores of our own lead to the etcd of the settings; others may not."""
        if reaches_etcd is None:
            return cls(is_sure=stores is None, is_told=stores is None)
        return cls(is_sure=reaches_etcd)

    def say_if_unguarded(self, settings: SlurpSettings) -> None:
        """Say that the guard which the settings ask for is left out, unless that was asked for as well."""
        if settings.election.guard and not self.is_told:
            log_event(_logger, logging.INFO, LogEvent.GUARD_UNAVAILABLE, problem=_UNTOLD)


def guard_of(settings: SlurpSettings, clock: Clock, reach: Reach) -> SharedGuard | None:
    """A share in the crash guard of this process; None where it is switched off, or cannot reach etcd by itself.

    It starts with the first lease, and ends when the last share was released.
    """
    reach.say_if_unguarded(settings)
    if not settings.election.guard or not reach.is_sure:
        return None
    from slurp_leader.etcd.route import route_of  # gRPC takes long to import: only who connects waits for it

    try:
        return SharedGuard(route_of(settings.etcd), clock)
    except OSError as error:
        log_event(_logger, logging.WARNING, LogEvent.GUARD_UNAVAILABLE, problem=str(error))
        return None
