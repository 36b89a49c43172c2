"""The fence in memory, and what it forgets."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader import FenceGate, MemoryFence, StaleTokenError
from slurp_leader.errors import ConfigurationError
from support.waiting import WAIT_S


def test_an_older_token_is_refused_and_the_error_says_all() -> None:
    fence: FenceGate = MemoryFence()
    fence.admit(9, "ledger")
    with pytest.raises(StaleTokenError, match=r"token 7 is stale for 'ledger': the newest seen is 9") as caught:
        fence.admit(7, "ledger")
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.token, error.newest, error.resource) == (7, 9, "ledger")
    assert fence.newest("ledger") == 9


def test_equal_and_newer_tokens_pass() -> None:
    fence = MemoryFence()
    for token in (7, 7, 9, 9):
        fence.admit(token, "ledger")
    assert fence.newest("ledger") == 9


def test_a_job_that_a_handover_lets_run_on_writes_its_own_resource_with_its_older_token() -> None:
    fence = MemoryFence()
    fence.admit(7, "job-1")  # the old leader's
    fence.admit(9, "job-2")  # the new leader's
    fence.admit(7, "job-1")
    with pytest.raises(StaleTokenError):
        fence.admit(7, "job-2")


@pytest.mark.parametrize("token", [0, -1, 2**63, True, "7", 7.0, None])
def test_what_is_no_token_is_not_let_through(token: Any) -> None:
    fence = MemoryFence()
    with pytest.raises(ValueError, match="a token is a whole number"):
        fence.admit(token, "ledger")
    assert fence.newest("ledger") is None


@pytest.mark.parametrize("resource", ["", "x" * 256, b"ledger", None])
def test_what_names_no_resource_is_not_let_through(resource: Any) -> None:
    with pytest.raises(ValueError, match="the name of a resource"):
        MemoryFence().admit(7, resource)


@pytest.mark.parametrize("arguments", [{"capacity": 0}, {"floor": -1}])
def test_a_fence_that_cannot_be_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(arguments))):
        MemoryFence(**arguments)


def test_a_fence_that_begins_with_a_floor_refuses_what_came_before_it() -> None:
    fence = MemoryFence(floor=9)
    with pytest.raises(StaleTokenError):
        fence.admit(8, "ledger")
    fence.admit(9, "ledger")


def test_the_oldest_tokens_are_forgotten_and_stay_refused() -> None:
    fence = MemoryFence(capacity=16)
    for number in range(1, 18):
        fence.admit(number, f"thing-{number}")
    assert len(fence) == 14  # an eighth at a time
    assert fence.floor == 3
    assert fence.newest("thing-3") is None
    with pytest.raises(StaleTokenError):
        fence.admit(2, "thing-3")
    fence.admit(3, "thing-3")  # its newest: still let through
    fence.admit(4, "thing-4")


def test_a_leader_with_more_resources_than_are_kept_is_never_refused() -> None:
    fence = MemoryFence(capacity=16)
    for round_ in range(3):
        for number in range(100):
            fence.admit(7 + round_, f"thing-{number}")
    assert len(fence) <= 16


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(1, 12), st.sampled_from("abcdefgh")), max_size=60),
)
def test_forgetting_never_lets_a_stale_token_through(capacity: int, admissions: list[tuple[int, str]]) -> None:
    fence, newest = MemoryFence(capacity=capacity), dict[str, int]()
    for token, resource in admissions:
        try:
            fence.admit(token, resource)
        except StaleTokenError:
            continue
        assert token >= newest.get(resource, 0)
        newest[resource] = token
        assert len(fence) <= capacity


class _SlowName(str):
    """A name that stops in the middle of an admission: when the newest token was read, and before it is kept."""

    __slots__ = ("hashed", "may_go_on", "was_read")

    def __init__(self, _name: str) -> None:
        self.hashed = 0
        self.was_read, self.may_go_on = threading.Event(), threading.Event()

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True

    def __hash__(self) -> int:
        self.hashed += 1
        if self.hashed == 2:  # the first was for the read
            self.was_read.set()
            assert self.may_go_on.wait(WAIT_S)
        return str.__hash__(self)


def test_a_newer_token_does_not_come_between_the_read_and_the_write_of_an_older_one() -> None:
    fence, name, is_in = MemoryFence(), _SlowName("ledger"), threading.Event()
    lock = fence._lock

    class Watched:
        """The lock of the fence; says when the second thread stands before it."""

        def __enter__(self) -> None:
            if name.was_read.is_set():
                is_in.set()
                name.may_go_on.set()
            lock.acquire()

        def __exit__(self, *_error: object) -> None:
            lock.release()

    fence._lock = Watched()  # type: ignore[assignment]
    older = threading.Thread(target=fence.admit, args=(7, name))
    older.start()
    assert name.was_read.wait(WAIT_S)
    fence.admit(9, "ledger")
    name.may_go_on.set()
    older.join(WAIT_S)
    assert is_in.is_set()
    assert fence.newest("ledger") == 9
