"""Wishing for a handover, when the leader says nothing to it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from slurp_leader.cli.connection import DeadlineStore
from slurp_leader.clock import SystemClock
from slurp_leader.election import ElectionKeys, Identity, Wish
from slurp_leader.election.history.entries import VETO, ActionRecord, remember_end
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.records import LeaderRecord, heartbeat_value
from slurp_leader.election.service import RESTS
from slurp_leader.election.transfer import AckRecord, Stage, TransferRecord
from slurp_leader.errors import HandoverError, Outcome, StoreDeniedError, StoreError, StoreTimeoutError
from slurp_leader.store import Delete, Grant, Put, Request, Store, Txn
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore
from support.calls import do, get, put
from support.waiting import WAIT_S

R = TypeVar("R")
SHORT_S = 1.0


def wish_of(store: Store, keyspace: Keyspace) -> Wish:
    """A wish for the term of a leader that says nothing; beside it stands another."""
    keys = ElectionKeys.of(keyspace, "slurp")
    lease = do(store, Grant(secrets.randbits(62), 60)).lease_id
    for each in "ab":
        candidate = Candidate(each, f"s-{each}", lease, 60)
        do(store, Put(keys.candidate(candidate.session), candidate.to_value(), lease=lease))
    do(store, Put(keys.leader, LeaderRecord("a", "s-a", "ab" * 16, 60, 1).to_value(), lease=lease))
    return Wish(store, keys, "slurp", SystemClock(), 5.0, "ops")


def test_a_transfer_that_nobody_has_begun_is_taken_back_and_is_known_not_to_happen(
    store: Store, keyspace: Keyspace
) -> None:
    wish = wish_of(store, keyspace)
    with pytest.raises(HandoverError) as caught:
        wish.transfer("b", "", SHORT_S)
    assert (caught.value.reason, caught.value.outcome) == ("timeout", Outcome.NOT_APPLIED)
    assert get(store, ElectionKeys.of(keyspace, "slurp").transfer) is None


def test_whether_a_leader_steps_down_is_not_known_when_it_says_nothing(store: Store, keyspace: Keyspace) -> None:
    """It may be ending its work already, to give the term back: of that nothing is written."""
    wish = wish_of(store, keyspace)
    with pytest.raises(HandoverError) as caught:
        wish.step_down("", SHORT_S)
    assert (caught.value.reason, caught.value.outcome) == ("timeout", Outcome.UNKNOWN)
    assert get(store, ElectionKeys.of(keyspace, "slurp").transfer) is None


def test_of_the_time_that_there_is_a_part_is_kept_for_taking_it_back(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    """So it is taken back over a store, too, that is given no more time for its answers once the time is over."""

    class Watched(DeadlineStore):
        def __init__(self) -> None:
            super().__init__(memory_store, 2.0, SystemClock())
            self.left: list[float] = []

        def call(self, request: Request[R], timeout_s: float) -> Future[R]:
            self.left.append(self.remaining_s())
            return super().call(request, timeout_s)

    wish_of(memory_store, keyspace)
    store = Watched()
    wish = Wish(store, ElectionKeys.of(keyspace, "slurp"), "slurp", SystemClock(), 5.0, "ops")
    with pytest.raises(HandoverError) as caught:
        wish.transfer("b", "", store.remaining_s())
    assert (caught.value.reason, caught.value.outcome) == ("timeout", Outcome.NOT_APPLIED)
    assert min(store.left) > 0


def test_no_call_before_the_wish_is_taken_back_lasts_longer_than_it_may(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    wish_of(memory_store, keyspace)
    store = Listening(memory_store)
    wish = Wish(store, ElectionKeys.of(keyspace, "slurp"), "slurp", SystemClock(), 5.0, "ops")
    with pytest.raises(HandoverError, match="in time"):
        wish.transfer("b", "", SHORT_S)
    *before, _read, _delete = store.timeouts_s
    assert before
    assert max(before) <= SHORT_S


def test_a_wish_that_is_refused_after_one_without_an_answer_may_stand_all_the_same(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    wish_of(memory_store, keyspace)
    store = Listening(memory_store, StoreTimeoutError("no answer"), StoreDeniedError("the role was taken away"))
    wish = Wish(store, ElectionKeys.of(keyspace, "slurp"), "slurp", SystemClock(), 5.0, "ops")
    with pytest.raises(StoreDeniedError) as caught:
        wish.transfer("b", "", 60)
    assert caught.value.outcome is Outcome.UNKNOWN


class Listening:
    """A way to a store that notes how long each call may take, and answers the first wishes with these errors."""

    def __init__(self, store: MemoryStore, *errors: StoreError) -> None:
        self._store = store
        self._errors = list(errors)
        self.watch = store.watch
        self.timeouts_s: list[float] = []

    def call(self, request: Request[R], timeout_s: float) -> Future[R]:
        self.timeouts_s.append(timeout_s)
        if self._errors and isinstance(request, Txn) and any(isinstance(step, Put) for step in request.success):
            refused: Future[R] = Future()
            refused.set_exception(self._errors.pop(0))
            return refused
        return self._store.call(request, timeout_s)

    def close(self) -> None:
        """The store is closed with the test."""


@pytest.mark.parametrize("stage", [Stage.WISHED, Stage.OFFERED])
def test_a_wish_does_not_go_over_one_that_is_under_way(store: Store, keyspace: Keyspace, stage: Stage) -> None:
    """Whoever wished before would wait for an answer that nobody gives."""
    wish, keys = wish_of(store, keyspace), ElectionKeys.of(keyspace, "slurp")
    leader = get(store, keys.leader)
    assert leader is not None
    standing = TransferRecord(stage, leader.mod_revision, "of another").to_value()
    revision = put(store, keys.transfer, standing)
    for ask in (lambda: wish.transfer("b", "", SHORT_S), lambda: wish.step_down("", SHORT_S)):
        with pytest.raises(HandoverError) as caught:
            ask()
        assert (caught.value.reason, caught.value.outcome) == ("busy", Outcome.NOT_APPLIED)
    kept = get(store, keys.transfer)
    assert kept is not None
    assert (kept.mod_revision, kept.value) == (revision, standing)


def test_a_wish_hits_no_other_term_than_the_one_it_was_meant_for(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    """A24."""
    wish_of(memory_store, keyspace)
    keys = ElectionKeys.of(keyspace, "slurp")

    class Meanwhile(Listening):
        """Lets another term begin between the look and the wish."""

        def call(self, request: Request[R], timeout_s: float) -> Future[R]:
            if isinstance(request, Txn) and request.compares and not self.done:
                self.done = True
                put(memory_store, keys.leader, LeaderRecord("c", "s-c", "cd" * 16, 60, 2).to_value())
            return super().call(request, timeout_s)

        done = False

    wish = Wish(Meanwhile(memory_store), keys, "slurp", SystemClock(), 5.0, "ops")
    with pytest.raises(HandoverError) as caught:
        wish.transfer("b", "", SHORT_S)
    assert (caught.value.reason, caught.value.outcome) == ("changed", Outcome.NOT_APPLIED)
    assert get(memory_store, keys.transfer) is None


# ---------------------------------------------------------------- what becomes of it


class Then(Listening):
    """Lets something happen to the election as soon as a wish stands."""

    def __init__(self, store: MemoryStore, *steps: Callable[[], Any]) -> None:
        super().__init__(store)
        self._steps = list(steps)

    def call(self, request: Request[R], timeout_s: float) -> Future[R]:
        answer = super().call(request, timeout_s)
        if isinstance(request, Txn) and any(isinstance(step, Put) for step in request.success):
            answer.result(WAIT_S)
            for step in self._steps:
                step()
        return answer


def wishing(store: MemoryStore, keyspace: Keyspace, *steps: Callable[[], Any]) -> Wish:
    return Wish(Then(store, *steps), ElectionKeys.of(keyspace, "slurp"), "slurp", SystemClock(), 5.0, "ops")


def handed(store: MemoryStore, keys: ElectionKeys) -> None:
    new = LeaderRecord("b", "s-b", "cd" * 16, 60, 2, reason="handover")
    do(store, Txn(success=(Put(keys.leader, new.to_value()), Delete(keys.transfer))))


def beat(store: MemoryStore, keys: ElectionKeys, *, starting: bool) -> None:
    put(store, keys.heartbeat, heartbeat_value(Identity("b", "s-b"), 2, 0, {}, starting=starting))


@pytest.mark.parametrize("steps_down", [False, True])
def test_it_is_met_once_the_successor_leads_and_not_while_that_asks_its_hooks(
    memory_store: MemoryStore, keyspace: Keyspace, steps_down: bool
) -> None:
    wish_of(memory_store, keyspace)
    keys = ElectionKeys.of(keyspace, "slurp")

    def ask(*steps: Callable[[], Any]) -> Any:
        wish = wishing(memory_store, keyspace, lambda: handed(memory_store, keys), *steps)
        return wish.step_down("", SHORT_S) if steps_down else wish.transfer(None, "", SHORT_S)

    with pytest.raises(HandoverError, match="b was handed the lead and does not lead yet") as caught:
        ask(lambda: beat(memory_store, keys, starting=True))
    assert (caught.value.reason, caught.value.outcome) == ("timeout", Outcome.UNKNOWN)
    wish_of(memory_store, keyspace)
    done = ask(lambda: beat(memory_store, keys, starting=True), lambda: beat(memory_store, keys, starting=False))
    assert done.leader.node_id == "b"


@pytest.mark.parametrize("steps_down", [False, True])
@pytest.mark.parametrize("why", ["no disk", ""], ids=["vetoes", "dies"])
def test_a_successor_that_gives_the_lead_back_before_it_led_is_no_success(
    memory_store: MemoryStore, keyspace: Keyspace, steps_down: bool, why: str
) -> None:
    wish_of(memory_store, keyspace)
    keys = ElectionKeys.of(keyspace, "slurp")
    told = remember_end(keys, ActionRecord(VETO, 2, "b", why)) if why else ()
    wish = wishing(
        memory_store,
        keyspace,
        lambda: handed(memory_store, keys),
        lambda: beat(memory_store, keys, starting=True),
        lambda: do(memory_store, Txn(success=(Delete(keys.leader), *told))),
    )
    with pytest.raises(HandoverError) as caught:
        wish.step_down("", WAIT_S) if steps_down else wish.transfer("b", "", WAIT_S)
    says = "b was handed the lead and refused it: no disk" if why else "b was handed the lead and lost it before it led"
    assert (str(caught.value), caught.value.reason) == (says, "vetoed" if why else "changed")


def test_a_candidate_that_says_it_is_not_fit_is_not_asked_and_one_that_rests_is(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    wish = wish_of(memory_store, keyspace)
    keys = ElectionKeys.of(keyspace, "slurp")
    lease = do(memory_store, Grant(secrets.randbits(62), 60)).lease_id

    def says(unfit: str) -> None:
        standing = Candidate("b", "s-b", lease, 60, unfit=unfit)
        do(memory_store, Put(keys.candidate("s-b"), standing.to_value(), lease=lease))

    says("it could not start")
    for dry_run in (True, False):
        with pytest.raises(HandoverError, match="b is not fit: it could not start") as caught:
            wish.transfer("b", "", SHORT_S, dry_run=dry_run)
        assert (caught.value.reason, caught.value.outcome) == ("unfit", Outcome.NOT_APPLIED)
    assert get(memory_store, keys.transfer) is None
    says(RESTS)
    assert wish.transfer("b", "", SHORT_S, dry_run=True).node_id == "b"


def test_a_leader_that_stepped_down_has_taken_the_wish_along(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    """A term that ended otherwise, as with the lease of a process that hangs, is nothing that it did."""
    keys = ElectionKeys.of(keyspace, "slurp")
    gone, with_wish = Delete(keys.leader), Delete(keys.transfer)

    def ask(*steps: Delete | Put) -> Any:
        wish_of(memory_store, keyspace)
        end = lambda: do(memory_store, Txn(success=steps))  # noqa: E731
        return wishing(memory_store, keyspace, end).step_down("", WAIT_S)

    assert ask(gone, with_wish).leader is None
    by_force = Put(keys.operator, b"{}")
    for steps in ((gone,), (gone, with_wish, by_force)):
        with pytest.raises(HandoverError, match="a did not step down: its term ended before it had answered") as caught:
            ask(*steps)
        assert caught.value.reason == "changed"
        do(memory_store, with_wish)


def transfer_in(store: MemoryStore, keys: ElectionKeys) -> TransferRecord:
    """The wish that stands."""
    standing = get(store, keys.transfer)
    assert standing is not None
    return TransferRecord.from_value(keys.transfer, standing.value)


def test_what_may_still_happen_is_not_said_not_to_have_happened(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    wish_of(memory_store, keyspace)
    keys = ElectionKeys.of(keyspace, "slurp")

    def offered() -> None:
        record = transfer_in(memory_store, keys)
        put(memory_store, keys.transfer, replace(record, stage=Stage.OFFERED, node_id="b").to_value())

    with pytest.raises(HandoverError) as caught:
        wishing(memory_store, keyspace, offered).transfer("b", "", SHORT_S)
    assert (caught.value.reason, caught.value.outcome) == ("timeout", Outcome.UNKNOWN)
    assert str(caught.value) == "it was not decided in time whether the lead is handed over; that may still happen"


def test_a_candidate_that_answers_that_it_is_not_fit_is_told_of_in_its_own_words(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    """Its record may not say so yet."""
    wish_of(memory_store, keyspace)
    keys = ElectionKeys.of(keyspace, "slurp")

    def refused() -> None:
        record = transfer_in(memory_store, keys)
        put(memory_store, keys.ack, AckRecord("n1", "s-b", 1, 1, "it could not start").to_value())
        put(memory_store, keys.transfer, replace(record, node_id="b", nonce="n1").refused("unfit").to_value())

    with pytest.raises(HandoverError, match="b is not fit: it could not start") as caught:
        wishing(memory_store, keyspace, refused).transfer("b", "", WAIT_S)
    assert caught.value.reason == "unfit"
