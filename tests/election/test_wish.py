"""Wishing for a handover, when the leader says nothing to it."""

from __future__ import annotations

import secrets
from concurrent.futures import Future
from typing import TypeVar

import pytest

from slurp_leader.cli.connection import DeadlineStore
from slurp_leader.clock import SystemClock
from slurp_leader.election import ElectionKeys, Wish
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.records import LeaderRecord
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.errors import HandoverError, Outcome, StoreDeniedError, StoreError, StoreTimeoutError
from slurp_leader.store import Grant, Put, Request, Store, Txn
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore
from support.calls import do, get, put

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
