"""Grants: what terms that were handed over left behind, and until when their old leaders may still end it.

A grant belongs to whoever gave its term away, and is honoured or deleted by whoever leads, however many terms later
(PROTOCOL A25). From the revision of its delete on, nothing of the old leader is accepted any more, and what it had not
ended is an orphan. When it is over is decided in `slurp_leader.jobs.recovery`.
"""

from __future__ import annotations

import logging

from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.recovery import EndGrant
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

    def honoured_s(self, now: float) -> dict[tuple[int, int], float]:
        """How long each has been honoured, by token and revision. Its time counts from here, by this node's clock."""
        standing = [(token, view.revision) for token, view in self._desk.picture.grants.items()]
        self._since = {grant: self._since.get(grant, now) for grant in standing}
        return {grant: now - since for grant, since in self._since.items()}

    def end(self, step: EndGrant, now: float) -> None:
        """End one that is over."""
        self._desk.note(logging.WARNING, LogEvent.GRANT_ENDED, token=step.token, reason=step.why)
        self._upkeep.drop(step.view.key, step.view.revision, now)
