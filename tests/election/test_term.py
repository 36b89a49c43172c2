"""The term: a computation over the clock at each use, never a stored answer (I3)."""

from __future__ import annotations

import itertools
import threading

import pytest

from slurp_leader.errors import LeadershipLostError
from slurp_leader.store import Put, Txn
from slurp_leader.store.memory import MemoryState
from slurp_leader.term import Lent, Term
from support.virtual import VirtualClock


def a_term(clock: VirtualClock, until: float = 0.0, token: int = 2, value: bytes = b"mine") -> Term:
    term = Term("x", token, 1, "a", "s", "t", b"leader", value, clock)
    term.trust.until = until
    return term


def test_a_term_is_trusted_until_its_moment_and_not_at_it() -> None:
    clock = VirtualClock(10.0)
    term = a_term(clock, until=12.0)
    assert term.is_valid
    assert term.remaining_s() == 2.0
    clock.now = 12.0
    assert not term.is_valid
    assert term.remaining_s() == 0.0
    with pytest.raises(LeadershipLostError) as raised:
        term.check()
    assert raised.value.token == 2


def test_a_term_that_was_never_proved_is_not_trusted() -> None:
    assert not Term("x", 2, 1, "a", "s", "t", b"leader", b"", VirtualClock()).is_valid


def test_work_should_stop_when_the_term_is_to_be_given_back_though_it_is_still_valid() -> None:
    term = a_term(VirtualClock(10.0), until=99.0)
    assert not term.should_stop
    term.leaving.set()
    assert term.is_valid
    assert term.should_stop


def test_waiting_ends_at_once_when_the_term_is_to_be_given_back() -> None:
    term = a_term(VirtualClock(10.0), until=99.0)
    assert not term.wait(0.0)
    threading.Thread(target=term.leaving.set).start()
    assert term.wait(60.0)


def test_who_waits_is_not_stuck() -> None:
    clock = VirtualClock(10.0)
    beats: list[float] = []

    class Leaving(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            beats.append(term.progress.at)
            clock.now += timeout or 0.0
            return False

    term = Term("x", 2, 1, "a", "s", "t", b"leader", b"mine", clock, leaving=Leaving())
    term.wait(60.0)
    assert beats[0] == 10.0
    assert max(after - before for before, after in itertools.pairwise([*beats, term.progress.at])) <= 1.0
    assert term.progress.at == 70.0


def test_a_child_may_neither_begin_nor_go_on_with_what_was_lent() -> None:
    term = a_term(VirtualClock(10.0))
    term.trust.lent = Lent(b"grant", b"", 3, begin_until=20.0, end_by=30.0)
    assert (term.may_begin, term.may_go_on) == (True, True)
    term.trust._pid += 1
    assert (term.may_begin, term.may_go_on) == (False, False)


@pytest.mark.parametrize(
    ("token", "value", "passes"), [(2, b"mine", True), (1, b"mine", False), (2, b"of another", False)]
)
def test_the_fence_compares_revision_and_value(token: int, value: bytes, passes: bool) -> None:
    """I2: the value too, because restoring etcd from a snapshot rolls revisions back."""
    clock = VirtualClock()
    store = MemoryState(clock)
    store.apply(Put(b"leader", b"mine"))
    fence = a_term(clock, token=token, value=value).fence()
    assert store.apply(Txn(compares=fence, success=(Put(b"k", b"v"),))).succeeded is passes
