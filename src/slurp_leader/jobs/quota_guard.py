"""The quota guard of one term: asks how full the store is, and says what that asks for.

Others act on the verdict: `Upkeep` closes the queue, `Pruner` prunes early, `Leading` claims nothing. Before the first
answer there is none: then nothing is closed, and what is closed is not opened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from slurp_leader.errors import RevisionCompactedError, StoreError
from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.quota import PRUNE_AT, StoreVerdict, fill_of, judge
from slurp_leader.store import Get
from slurp_leader.store.maintenance import Survey, SurveyResult
from slurp_leader.telemetry.events import LogEvent

_EVERY_S = 5.0
_SOON_S = 1.0
_WATCH_CLOSELY = PRUNE_AT - 0.1
"""Share in use above which it is asked every second: at full speed jobs fill some 50 MiB/s."""


class QuotaGuard:
    """Watches the space of the store during one term.

    Args:
        desk: Of the term.
        press: Told how much earlier outcomes are to be pruned.
    """

    def __init__(self, desk: Desk, press: Callable[[float, float], None]) -> None:
        self.verdict: StoreVerdict | None = None
        """The newest; None: not known yet."""
        self._desk = desk
        self._press = press
        self._ask_at = float("-inf")
        self._asking = False
        self._probing = False

    @property
    def stands(self) -> bool:
        """Whether there is no room to begin a job."""
        return self.verdict is not None and self.verdict.stand

    def act(self, now: float) -> None:
        """Ask, if it is time again."""
        if now >= self._ask_at and not self._asking:
            self._asking = True
            self._desk.ask(Survey(), self._surveyed)

    def _surveyed(self, result: Any, now: float) -> None:
        self._asking = False
        if not isinstance(result, StoreError):  # else the last verdict stands; others say that nothing answers
            self._judge(result, now)
            self._look_for_compaction(result, now)
        closely = self.verdict is not None and self.verdict.fill.in_use >= _WATCH_CLOSELY
        self._ask_at = now + (_SOON_S if closely else _EVERY_S)
        self._desk.timers.set("quota", self._ask_at)

    def _judge(self, survey: SurveyResult, now: float) -> None:
        before = self.verdict
        self.verdict = judge(fill_of(survey.members, self._desk.store_limits), before)
        if self.verdict.pressure > 0 and (before is None or before.pressure == 0):
            self._desk.note(logging.WARNING, LogEvent.STORE_FILLING, fill=str(self.verdict.fill))
        self._press(self.verdict.pressure, now)

    # ------------------------------------------------------------ is anything ever compacted?

    def _look_for_compaction(self, survey: SurveyResult, now: float) -> None:
        newest = max(member.header.revision for member in survey.members)
        revision = self._desk.compaction.due(newest, now)
        if revision is not None and not self._probing:
            self._probing = True
            self._desk.ask(Get(self._desk.keys.floor, revision=revision), partial(self._probed, revision))

    def _probed(self, revision: int, result: Any, now: float) -> None:
        self._probing = False
        compacted = isinstance(result, RevisionCompactedError)
        if isinstance(result, StoreError) and not compacted:
            return
        warning = self._desk.compaction.answered(revision, compacted, now)
        if warning:
            self._desk.note(logging.WARNING, LogEvent.STORE_NOT_COMPACTED, warning=warning)
