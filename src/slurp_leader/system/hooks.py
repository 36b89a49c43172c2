"""The four hooks, as decorators that both faces of the library have."""

from __future__ import annotations

from typing import TypeVar

from slurp_leader.election.hooks import Hook, HookKind, Hooks

HookT = TypeVar("HookT", bound=Hook)


class HasHooks:
    """What a service wants to do when it stands by, is elected, leads, or has lost.

    A hook may be sync or async, and takes as many of its arguments as it wants. Hooks run on threads of their own and
    never hold up a renewal; one that raises, or takes longer than `election.hook_timeout`, is reported in log, metrics
    and `health`. They hold over `stop` and the next `start`; best added before `start`.
    """

    _hooks: Hooks

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
