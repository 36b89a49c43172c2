"""What one node can say of itself in an election: what it has done so far, and whether it should lead now."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from slurp_leader.election.candidacy import Condition
from slurp_leader.election.options import ElectionOptions
from slurp_leader.election.ranking.scoring import Free, ScoreInputs
from slurp_leader.election.session import Session
from slurp_leader.election.transfer import Readiness

_WINS_BEFORE_COOL_DOWN, _COOL_DOWN_S = 4, 300.0
"""Who won more than three times in five minutes keeps losing for a reason, and lets others go first."""
_LEAST_VETO_PAUSE_S = 5.0
_LONGEST_VETO_S, _MOST_DOUBLINGS = 300.0, 10
_CAN = (float("-inf"), "")
RESTS = "it has given the lead away, and lets others go first"
"""Why a node is unfit that was asked to be for a while: nothing is wrong with it."""
_STALLED = "its work does not move"
_SMOOTHING = 0.2
"""Share of the newest round trip in the figure that is published: about the last ten count."""


class Service:
    """Kept by the elector, on its thread.

    Args:
        options: Of the election.
        ready: Asks the owner whether this node could take over now; must not block.
        free: Measures what is free of the machine; must not block.
        lacks: Required capabilities that this node does not have.
        is_stalled: Whether a term was lost because the owner's loop does not move, and it does not move yet.
    """

    def __init__(
        self,
        options: ElectionOptions,
        ready: Callable[[], Readiness],
        free: Callable[[], Free],
        lacks: Sequence[str] = (),
        is_stalled: Callable[[], bool] = bool,
    ) -> None:
        self._options = options
        self._ready = ready
        self._free = free
        self._lacks = f"it lacks the capability {', '.join(lacks)}" if lacks else ""
        self._is_stalled = is_stalled
        self._began: float | None = None
        self._wins: deque[float] = deque(maxlen=_WINS_BEFORE_COOL_DOWN)
        self._terms = 0
        self._led_s = 0.0
        self._leads_since: float | None = None
        self._round_trip_s: float | None = None
        self._cannot: tuple[float, str] = _CAN  # until when it says that it cannot lead, and why
        self._failures = 0  # in a row, to lead
        self.unfit = ""
        """Why the owner says that this node should not lead; empty: it should."""
        self.rests_until = float("-inf")
        """Until when somebody else should lead, as this node wished when it handed over."""
        self.is_stopping = False
        """Whether it stands no more, although its session lives until what it lent has ended."""

    # ------------------------------------------------------------ what happened

    def begins(self, now: float) -> None:
        self._began = now

    def leads(self, now: float, *, won: bool) -> None:
        """A term began. `won`: not by being handed it, which says nothing of how this node keeps it."""
        if won:
            self._wins.append(now)
        else:
            self.rests_until = now
        self._cannot, self._failures = _CAN, 0
        self._terms += 1
        self._leads_since = now

    def leads_no_more(self, now: float) -> None:
        if self._leads_since is not None:
            self._led_s += max(0.0, now - self._leads_since)
            self._leads_since = None

    def vetoed(self, why: str, now: float) -> float:
        """This node could not start. Returns until when it lets others go first: for longer than any of them waits.

        It calls itself unfit for longer each time: where an operator has pinned the lead to it, whoever leads instead
        would hand it over, and every time for a moment nobody would lead. Alone it tries as often as ever.
        """
        return self._cannot_lead(f"it was elected and could not start: {why}", now)

    def denied(self, why: str, now: float) -> None:
        """This node has not the rights to take the key. As of a veto, others need to know; it goes on trying, since
        nobody tells it when it has been given them."""
        self._cannot_lead(f"it may not take the key: {why}", now)

    def _cannot_lead(self, why: str, now: float) -> float:
        pause_s = max(_LEAST_VETO_PAUSE_S, 2.5 * self._options.rank_wait_s)
        self._cannot = (now + max(pause_s, min(_LONGEST_VETO_S, pause_s * 2.0**self._failures)), why)
        self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
        return now + pause_s

    def answered(self, round_trip_s: float) -> None:
        """etcd answered a keepalive."""
        known = self._round_trip_s
        self._round_trip_s = round_trip_s if known is None else known + _SMOOTHING * (round_trip_s - known)

    # ------------------------------------------------------------ what is said of it

    def readiness(self, now: float) -> Readiness:
        """Whether this node could take over, if it were asked to. Not soon after it could not start: that would
        cost a gap in which nobody leads."""
        unfit = _STALLED if self._is_stalled() else self._why_it_cannot(now)
        return Readiness(unfit=unfit) if unfit else self._ready()

    def condition(self, session: Session, now: float) -> Condition:
        """Whether this node should lead, and whether it could at once."""
        ready = self._ready()
        is_warm = ready.revision is None or ready.revision > 0
        return Condition(self._why_unfit(session, ready, now), is_warm, self._is_cooling(now))

    def _why_unfit(self, session: Session, ready: Readiness, now: float) -> str:
        """Whatever keeps it from campaigning has to be said here: who waits for it, as for a node that the lead is
        pinned to, would wait for ever."""
        if self.is_stopping:
            return "it stops"
        if self._lacks or self.unfit or ready.unfit:
            return self._lacks or self.unfit or ready.unfit
        if self._is_stalled():
            return _STALLED
        if why := self._why_it_cannot(now):
            return why
        if now < max(session.stands_back_until, self.rests_until):
            return RESTS
        return ""

    def _why_it_cannot(self, now: float) -> str:
        until, why = self._cannot
        return why if now < until else ""

    def _is_cooling(self, now: float) -> bool:
        """Whether it won so often of late that others should go first. Not while it leads: to give that up would be one
        loss more."""
        wins = self._wins
        return self._leads_since is None and len(wins) == wins.maxlen and now - wins[0] < _COOL_DOWN_S

    def measure(self, session: Session, now: float) -> ScoreInputs:
        """What its score is made of."""
        free = self._free()
        since = self._leads_since
        return ScoreInputs(
            capabilities=session.identity.capabilities,
            cpu_free=free.cpu,
            memory_free=free.memory,
            load_free=free.load,
            uptime_s=0.0 if self._began is None else max(0.0, now - self._began),
            round_trip_s=self._round_trip_s,
            terms_led=self._terms,
            led_s=self._led_s + (0.0 if since is None else max(0.0, now - since)),
        )
