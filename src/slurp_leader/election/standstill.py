"""Standstill: whether the loop that does the work of a term moves. A part of the elector's machine (PROTOCOL A16).

Renewal is for leaders that move. One whose owner stands still gives the *key* away, by token, and stands for election
again only when that owner has moved, or has let go of the term: it would lead nothing.
"""

from __future__ import annotations

from slurp_leader.election.desk import Desk
from slurp_leader.election.reign import Reign
from slurp_leader.term import Term

TIMER = "progress"

_OVERSLEPT_S = 1.0
"""A timer that fires so much too late tells of a standstill of our own."""


class Standstill:
    """Watches over one owner.

    Args:
        desk: Shared with the elector. Uses the timer "progress".
        longest_s: How long an owner may stand still; 0: it does not matter.
    """

    def __init__(self, desk: Desk, longest_s: float) -> None:
        self._desk = desk
        self._longest_s = longest_s
        self._stalled: Term | None = None

    @property
    def is_stalled(self) -> bool:
        """Whether a term was ended for it, and its owner does not move yet."""
        return self._stalled is not None

    def await_progress(self, term: Term, now: float) -> None:
        """From now on this term's owner has to move."""
        if self._longest_s > 0:
            term.progress.at = now
            self._desk.timers.set(TIMER, now + self._longest_s)

    def look(self, reign: Reign | None, now: float, *, is_deciding: bool) -> bool:
        """Look at the owner of the term in force.

        Args:
            reign: The term; None: there is none.
            now: The time.
            is_deciding: Whether it is open whose term it is.

        Returns:
            Whether the term has to end, as its owner stands still.
        """
        self.look_at_stalled(now)
        if reign is None or not reign.announced:
            return False
        silent_s = now - reign.term.progress.at
        if is_deciding:
            self._look_again(now)  # whose term it is will soon be known
        elif silent_s < self._longest_s:
            self._desk.timers.set(TIMER, reign.term.progress.at + self._longest_s)
        elif silent_s > self._longest_s + _OVERSLEPT_S:
            self.await_progress(reign.term, now)  # we stood still ourselves: the owner gets a chance to move first
        else:
            self._stalled = reign.term
            return True
        return False

    def look_at_stalled(self, now: float) -> None:
        """After such an end: an owner that beats again may lead again."""
        if self._stalled is None:
            return
        if now - self._stalled.progress.at < self._longest_s:
            self._stalled = None
        else:
            self._look_again(now)

    def let_go(self, token: int) -> None:
        """So may one that has let go of the term."""
        if self._stalled is not None and token == self._stalled.token:
            self._stalled = None

    def _look_again(self, now: float) -> None:
        self._desk.timers.set(TIMER, now + self._longest_s / 5)
