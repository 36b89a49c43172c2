"""Wishing for a handover, from any process: write the wish for the term in force, and follow what becomes of it.

It is the leader that hands over. A wish names the token it means, so it cannot hit the next term (A24), and says who
wants it and why. Its answer is the handover itself, or the refusal that the leader writes over it.
"""

from __future__ import annotations

import queue
import secrets
from dataclasses import dataclass
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.election.history.entries import VETO, ActionRecord, end_key
from slurp_leader.election.history.situation import Ask, Situation, look_at
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.eligible import choose_successor
from slurp_leader.election.records import ElectionKeys, LeaderInfo, LeaderRecord, has_begun
from slurp_leader.election.service import RESTS
from slurp_leader.election.transfer import AckRecord, Stage, TransferRecord, under_way
from slurp_leader.errors import ConfigurationError, HandoverError, NoLeaderError, Outcome, RecordError, StoreError
from slurp_leader.store import (
    Delete,
    Event,
    EventKind,
    Get,
    KeyValue,
    Put,
    Store,
    Txn,
    WatchCompacted,
    WatchEvents,
    WatchFailed,
    mod_revision,
    prefix_end,
    value_of,
)
from slurp_leader.store.repeat import asks_until, until_definite
from slurp_leader.store.requests import CompareOp

_LONGEST_WHY = 500
_LONGEST_RESERVE_S = 1.0
"""Two calls to an etcd that answers take much less."""

_MESSAGES = {
    "nobody": "no node was named",
    "itself": "that node leads already",
    "unknown": "no such candidate stands in this election",
    "no_candidate": "nobody else stands in this election",
    "busy": "another handover is under way",
    "unfit": "the candidate is not ready to take over",
    "blocked": "an operator has blocked the candidate",
    "pinned_elsewhere": "an operator has pinned the lead to another node",
    "capability": "the candidate lacks a capability that the election requires",
    "silent": "the candidate did not answer the offer",
    "refused": "something had changed when the lead was to be handed over; the leader goes on",
    "changed": "the term that was to be handed over is over",
    "leaving": "the leader is about to give the term away by itself",
    "timeout": "it was not decided in time",
}
_STILL_MAY = "it was not decided in time whether the lead is handed over; that may still happen"


@dataclass(frozen=True, slots=True)
class Transferred:
    """What came of a transfer.

    Attributes:
        leader: Who leads now. Of a dry run: who leads, and would hand over.
        node_id: Who was handed the lead, or would be asked first.
        before: Who led before; None: a record that cannot be read.
        took_s: From the wish until the successor led. 0 of a dry run.
        is_dry_run: Nothing was done.
    """

    leader: LeaderInfo
    node_id: str
    before: str | None
    took_s: float = 0.0
    is_dry_run: bool = False


@dataclass(frozen=True, slots=True)
class SteppedDown:
    """What came of stepping down.

    Attributes:
        leader: Who was handed the lead; None: nobody could take over, so the term was given back.
        before: Who led before; None: a record that cannot be read.
        took_s: From the wish until the successor led, or to the end of the term.
    """

    leader: LeaderInfo | None
    before: str | None
    took_s: float


class Wish:
    """One wish for a handover. Blocks; safe to use from any thread, once.

    Args:
        store: Where calls go.
        keys: Of the election.
        election: Its name.
        clock: Source of time.
        rpc_timeout_s: Deadline of one call.
        by: Who wants it, for people.
    """

    def __init__(
        self, store: Store, keys: ElectionKeys, election: str, clock: Clock, rpc_timeout_s: float, by: str
    ) -> None:
        self._store = store
        self._keys = keys
        self._election = election
        self._clock = clock
        self._rpc_timeout_s = rpc_timeout_s
        self._by = by
        self._id = secrets.token_hex(8)

    def transfer(self, to: str | None, why: str, timeout_s: float, *, dry_run: bool = False) -> Transferred:
        """Have the lead handed over, and wait until the successor leads: it has proved the term, and its hooks agree.

        Args:
            to: Node id of the successor; None: the best candidate.
            why: For people.
            timeout_s: Longest wait, in seconds. A part of it, at most 1 s, is kept for taking the wish back; where etcd
                takes longer for that, so does this.
            dry_run: Only tell who would be asked first.

        Raises:
            ConfigurationError: `why` is longer than 500 characters.
            NoLeaderError: Nobody leads.
            HandoverError: It was not handed over; `reason` says why, `outcome` whether it still may be.
            StoreError: etcd did not answer, or refused. `outcome` says whether the wish may stand all the same.
        """
        _check(why)
        began = self._clock.boottime()
        deadline = began + _to_be_obeyed_s(timeout_s)
        situation, leader = self._look(deadline)
        asked = self._check(situation, to)
        before = situation.record.node_id if situation.record else None
        if dry_run:
            return Transferred(_info(situation), asked[0].node_id, before, is_dry_run=True)
        wish = TransferRecord(Stage.WISHED, leader.mod_revision, self._id, to or "", self._by, why)
        wished_at = self._write(situation, leader, wish, deadline)
        successor = self._follow(leader, wished_at, deadline, steps_down=False)
        assert successor is not None
        assert successor.node_id is not None
        return Transferred(successor, successor.node_id, before, self._clock.boottime() - began)

    def step_down(self, why: str, timeout_s: float) -> SteppedDown:
        """Have the leader hand over to whoever can take over, or else give the term back; and wait for that.

        Args:
            why: For people.
            timeout_s: Longest wait, as of `transfer`. The leader's work in flight may have to end first.

        Raises:
            ConfigurationError, NoLeaderError, HandoverError, StoreError: As `transfer`; with a frozen election also
                because nobody can take over: then the leader goes on.
        """
        _check(why)
        began = self._clock.boottime()
        deadline = began + _to_be_obeyed_s(timeout_s)
        situation, leader = self._look(deadline)
        before = situation.record.node_id if situation.record else None
        wish = TransferRecord(Stage.WISHED, leader.mod_revision, self._id, "", self._by, why, steps_down=True)
        wished_at = self._write(situation, leader, wish, deadline)
        successor = self._follow(leader, wished_at, deadline, steps_down=True)
        return SteppedDown(successor, before, self._clock.boottime() - began)

    # ------------------------------------------------------------ before anything is written

    def _look(self, deadline: float) -> tuple[Situation, KeyValue]:
        situation = look_at(self._asks_until(deadline), self._keys)
        if situation.leader is None:
            raise NoLeaderError(f"nobody leads the election {self._election!r}: there is nothing to hand over")
        return situation, situation.leader

    def _check(self, situation: Situation, to: str | None) -> list[Candidate]:
        """Refuse what cannot work as things stand; the leader decides anew. Who would be asked, the first one first."""
        if to is not None and not to.strip():
            raise _refused("nobody")
        record = situation.record
        if record is not None and to in (record.node_id, record.session):
            raise _refused("itself")
        asked, reason = choose_successor(situation.others, situation.by_the_leader, situation.weights, to or "")
        if not asked:
            raise _refused(reason)
        if all(each.unfit not in ("", RESTS) for each in asked):  # who only rests takes it all the same
            raise _refused("unfit", about=_unfit(asked[0].node_id, asked[0].unfit))
        return asked

    # ------------------------------------------------------------ the wish

    def _write(self, situation: Situation, leader: KeyValue, wish: TransferRecord, deadline: float) -> int:
        """Write it; the same again until it is definite. Returns its revision."""
        keys, standing = self._keys, situation.transfer
        if under_way(standing, leader.mod_revision) is not None:
            raise _refused("busy")
        txn = Txn(
            compares=(
                mod_revision(keys.leader, leader.mod_revision),
                value_of(keys.leader, CompareOp.EQUAL, leader.value),
                mod_revision(keys.transfer, standing.mod_revision if standing else 0),
            ),
            success=(Put(keys.transfer, wish.to_value()),),
            failure=(Get(keys.transfer), Get(keys.leader)),
        )
        result, in_doubt = self._send(txn, deadline)
        if result.succeeded:
            return int(result.header.revision)
        stands_now, now_leads = result.results
        for kv in stands_now.kvs:
            record = _read(kv)
            if record is not None and record.wish == self._id:
                return situation.revision  # an earlier send of ours: follow from before it
        if in_doubt:
            return situation.revision  # it may have been met already: what follows tells
        changed = not now_leads.kvs or now_leads.kvs[0].mod_revision != leader.mod_revision
        raise _refused("changed" if changed else "busy")

    def _send(self, txn: Txn, deadline: float) -> tuple[Any, bool]:
        """The same again until it is answered. Returns the answer, and whether an earlier send may have arrived."""
        ask, doubts = self._asks_until(deadline), list[StoreError]()

        def send() -> Any:
            try:
                return ask(txn)
            except StoreError as error:
                doubts.extend([error] if error.outcome is Outcome.UNKNOWN else [])
                raise

        try:
            return until_definite(send, self._clock, deadline), bool(doubts)
        except StoreError as error:
            if not error.retryable:
                raise
            raise _refused("timeout", error.outcome) from error

    # ------------------------------------------------------------ what becomes of it

    def _follow(self, leader: KeyValue, since: int, deadline: float, *, steps_down: bool) -> LeaderInfo | None:
        """Wait until the successor leads. None: a leader that stepped down has given the key back."""
        notices: queue.SimpleQueue[Any] = queue.SimpleQueue()
        prefix = self._keys.prefix
        watch = self._store.watch(prefix, prefix_end(prefix), since + 1, notices.put)
        successor: LeaderInfo | None = None
        try:
            while True:
                events = self._next(notices, deadline, successor)
                for event in events:
                    if event.kv.key == self._keys.leader:
                        if successor is not None:
                            raise self._never_led(successor)
                        if steps_down and self._is_given_back(event, events):
                            return None
                        successor = self._new_leader(event, leader, steps_down=steps_down)
                    elif event.kv.key == self._keys.heartbeat and successor is not None:
                        if has_begun(successor.token, event.kv):
                            return successor
                    elif event.kv.key == self._keys.transfer:
                        self._check_refusal(event)
        finally:
            watch.cancel()

    def _next(
        self, notices: queue.SimpleQueue[Any], deadline: float, successor: LeaderInfo | None
    ) -> tuple[Event, ...]:
        try:
            notice = notices.get(timeout=max(0.0, min(0.5, deadline - self._clock.boottime())))
        except queue.Empty:
            if self._clock.boottime() < deadline:
                return ()
            raise self._too_late(successor) from None
        if isinstance(notice, WatchEvents):
            return notice.events
        if isinstance(notice, WatchFailed):
            raise _refused("timeout", Outcome.UNKNOWN) from notice.error
        if isinstance(notice, WatchCompacted):
            raise _refused("timeout", Outcome.UNKNOWN)
        return ()

    def _is_given_back(self, event: Event, beside: tuple[Event, ...]) -> bool:
        """Whether the leader itself has given the key back: in one transaction with the wish. Where the lease has ended
        the key alone goes, and who ends a term by force writes that into the orders."""
        at = event.kv.mod_revision
        changed = {each.kv.key for each in beside if each.kv.mod_revision == at}
        return event.kind is EventKind.DELETE and self._keys.transfer in changed and self._keys.operator not in changed

    def _never_led(self, successor: LeaderInfo) -> HandoverError:
        """Whoever was handed the lead holds the key no more, and has not led."""
        name = successor.node_id or "the successor"
        epoch = successor.record.epoch if successor.record else 0
        try:
            told = self._call(Get(end_key(self._keys, epoch, VETO))).kvs
            why = ActionRecord.from_value(told[0]).why if told else ""
        except (StoreError, RecordError):
            why = ""
        if why:
            return HandoverError(f"{name} was handed the lead and refused it: {why}", reason="vetoed")
        return HandoverError(f"{name} was handed the lead and lost it before it led", reason="changed")

    def _new_leader(self, event: Event, leader: KeyValue, *, steps_down: bool) -> LeaderInfo:
        record = _record_of(event.kv) if event.kind is EventKind.PUT else None
        if record is None or record.reason != "handover" or event.kv.mod_revision <= leader.mod_revision:
            before = _record_of(leader)
            name = before.node_id if before else "the leader"
            about = f"{name} did not step down: its term ended before it had answered" if steps_down else ""
            raise HandoverError(about or _message("changed"), reason="changed", outcome=Outcome.UNKNOWN)
        return LeaderInfo(event.kv.mod_revision, record)

    def _check_refusal(self, event: Event) -> None:
        record = _read(event.kv) if event.kind is EventKind.PUT else None
        if record is not None and record.wish == self._id and record.stage is Stage.REFUSED:
            about = self._why_unfit(record) if record.reason == "unfit" else ""
            self._clear(event.kv.mod_revision)
            raise _refused(record.reason, about=about)

    def _why_unfit(self, refused: TransferRecord) -> str:
        """What the last candidate that was asked said, while its answer stands."""
        try:
            kvs = self._call(Get(self._keys.ack)).kvs
            ack = AckRecord.from_value(kvs[0].key, kvs[0].value) if kvs else None
        except (StoreError, RecordError):
            return ""
        is_its = ack is not None and ack.nonce == refused.nonce
        return _unfit(refused.node_id, ack.unfit) if is_its and ack is not None and ack.unfit else ""

    def _too_late(self, successor: LeaderInfo | None) -> HandoverError:
        """Take the wish back, if nobody has begun to obey it."""
        if successor is not None:
            message = f"{successor.node_id} was handed the lead and does not lead yet; it may still begin to"
            return HandoverError(message, reason="timeout", outcome=Outcome.UNKNOWN)
        try:
            standing = self._call(Get(self._keys.transfer)).kvs
            record = _read(standing[0]) if standing else None
            if record is None or record.wish != self._id or record.stage is not Stage.WISHED:
                return _refused("timeout", Outcome.UNKNOWN)
            if self._clear(standing[0].mod_revision) and not record.steps_down:
                return _refused("timeout")  # a leader that is to step down may be about it without a word here
        except StoreError:
            pass
        return _refused("timeout", Outcome.UNKNOWN)

    def _clear(self, revision: int) -> bool:
        """Delete our record, as it stands. One that stays does no harm: the next handover goes over it."""
        txn = Txn(compares=(mod_revision(self._keys.transfer, revision),), success=(Delete(self._keys.transfer),))
        try:
            return bool(self._call(txn).succeeded)
        except StoreError:
            return False

    def _asks_until(self, deadline: float) -> Ask:
        return asks_until(self._store, self._rpc_timeout_s, self._clock, deadline)

    def _call(self, request: Any) -> Any:
        """To take the wish back, also when the time is over."""
        return self._store.call(request, self._rpc_timeout_s).result()


def _to_be_obeyed_s(timeout_s: float) -> float:
    """How long a wish may stand. The rest of the time is for taking it back: one that stays is obeyed later on, when
    nobody waits for it any more."""
    return timeout_s - min(_LONGEST_RESERVE_S, timeout_s / 4)


def _check(why: str) -> None:
    if len(why) > _LONGEST_WHY:
        raise ConfigurationError(f"why has {len(why)} characters; {_LONGEST_WHY} at most", field="why")


def _info(situation: Situation) -> LeaderInfo:
    assert situation.leader is not None
    return LeaderInfo(situation.leader.mod_revision, situation.record)


def _record_of(kv: KeyValue) -> LeaderRecord | None:
    try:
        return LeaderRecord.from_value(kv.key, kv.value)
    except RecordError:
        return None


def _read(kv: KeyValue) -> TransferRecord | None:
    try:
        return TransferRecord.from_value(kv.key, kv.value)
    except RecordError:
        return None


def _refused(reason: str, outcome: Outcome = Outcome.NOT_APPLIED, about: str = "") -> HandoverError:
    """`about`: what is to be said of the reason, if it is more than usual."""
    is_open = (reason, outcome) == ("timeout", Outcome.UNKNOWN)
    return HandoverError(_STILL_MAY if is_open else _message(reason, about), reason=reason, outcome=outcome)


def _unfit(node_id: str, why: str) -> str:
    return f"{node_id} is not fit: {why}"


def _message(reason: str, about: str = "") -> str:
    return f"the lead was not handed over: {about or _MESSAGES.get(reason, reason)}"
