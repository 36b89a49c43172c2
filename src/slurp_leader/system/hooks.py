"""What a service hands to both faces of the library: the four hooks, as decorators, and health checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from slurp_leader.election.hooks import Hook, HookKind, Hooks
from slurp_leader.health import HealthChecks

HookT = TypeVar("HookT", bound=Hook)


class HasHooks:
    """What a service wants to do when it stands by, is elected, leads, or has lost.

    A hook may be sync or async, and takes as many of its arguments as it wants. Hooks run on threads of their own and
    never hold up a renewal; one that raises, or takes longer than `election.hook_timeout`, is reported in log, metrics
    and `health`. They hold over `stop` and the next `start`; best added before `start`.
    """

    _hooks: Hooks
    _checks: HealthChecks

    def on_standby(self, hook: HookT) -> HookT:
        """Call ``hook()`` when this node stands and does not lead: from the start, and after each loss."""
        self._hooks.add(HookKind.STANDBY, hook)
        return hook

    def on_elected(self, hook: HookT) -> HookT:
        """Ask ``hook(term)`` before this node leads, while `is_leader` is still false and nothing of the term runs.

        If it raises, returns False, or takes longer than `election.hook_timeout`, the key is given back and others go
        first for a while.
        """
        self._hooks.add(HookKind.ELECTED, hook)
        return hook

    def on_leading(self, hook: HookT) -> HookT:
        """Call ``hook(term)`` when this node leads from now on."""
        self._hooks.add(HookKind.LEADING, hook)
        return hook

    def on_lost(self, hook: HookT) -> HookT:
        """Call ``hook(term, reason)`` when a term of this node is over. By then others may lead already."""
        self._hooks.add(HookKind.LOST, hook)
        return hook

    def add_health_check(
        self,
        name: str,
        check: Callable[[], Any],
        interval: float | None = None,
        timeout: float | None = None,
        critical: bool = True,
    ) -> None:
        """Have this node's health checked while it runs.

        An unhealthy node lets others go first when nobody leads, and leads all the same when there is none. `health`
        shows what fails; one run that is ok makes it well again.

        Args:
            name: Shown to people; must be new.
            check: Sync or async; fails by raising, by returning False, or by taking too long.
            interval: Seconds between two runs; None: `health.interval`.
            timeout: Seconds a run may take; None: `health.timeout`.
            critical: Whether `health.failure_threshold` failures in a row make the node unhealthy. Else they are shown.

        Raises:
            ConfigurationError: The name is taken, or a time is not positive.
        """
        self._checks.add(name, check, interval, timeout, critical=critical)
