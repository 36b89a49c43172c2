"""Grants: what terms that were handed over left behind, and until when their old leaders may still end it.

A grant belongs to whoever gave its term away, and is honoured or deleted by whoever leads, however many terms later
(PROTOCOL A25). From the revision of its delete on, nothing of the old leader is accepted any more, and what it had not
ended is an orphan.
"""

from __future__ import annotations

import logging

from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.picture import GrantView
from slurp_leader.jobs.upkeep import Upkeep
from slurp_leader.telemetry.events import LogEvent


class Grants:
    """The leader's view of grants.

    Args:
        desk: Of the term.
        upkeep: Deletes those that are over.
    """

    def __init__(self, desk: Desk, upkeep: Upkeep) -> None:
        self._desk = desk
        self._upkeep = upkeep
        self._since: dict[tuple[int, int], float] = {}

    def look(self, now: float) -> None:
        """End the grants whose time is up, or whose owner is gone. The time counts from here, by this node's clock."""
        for token, view in list(self._desk.picture.grants.items()):
            since = self._since.setdefault((token, view.revision), now)
            why = self._is_over(view, now - since)
            if why and not self._upkeep.is_busy_with(view.key):
                self._desk.note(logging.WARNING, LogEvent.GRANT_ENDED, token=token, reason=why)
                self._upkeep.drop(view.key, view.revision, now)

    def _is_over(self, view: GrantView, age_s: float) -> str:
        if view.grant is None:
            return "it cannot be read"
        if view.grant.session not in self._desk.picture.sessions:
            return "its owner is gone"
        return "its time is up" if age_s >= view.grant.longest_s else ""
