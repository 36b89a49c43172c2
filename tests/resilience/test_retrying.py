"""Pauses, and the loop around a call that fails for a while."""

from __future__ import annotations

import pytest

from slurp_leader.resilience import LONGEST_PAUSE_S, pause_s, trying_again


class Rig:
    """A call that fails in a given way, and notes of all that happened."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.failed: list[BaseException] = []
        self.pauses: list[float] = []
        self.again = trying_again(lambda error: isinstance(error, OSError), failed=self.failed.append, pause=self.pause)

    def call(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.mark.parametrize(("failures", "longest"), [(1, 0.05), (2, 0.1), (3, 0.2), (6, 1.6), (7, LONGEST_PAUSE_S)])
def test_pauses_double_up_to_the_longest_and_half_of_each_is_random(failures: int, longest: float) -> None:
    pauses = [pause_s(failures) for _ in range(200)]
    assert all(longest / 2 <= pause <= longest for pause in pauses)
    assert len(set(pauses)) > 100


def test_the_pause_after_an_endless_outage_is_the_longest() -> None:
    assert LONGEST_PAUSE_S / 2 <= pause_s(1_000_000) <= LONGEST_PAUSE_S


def test_what_may_pass_is_tried_again_until_it_has() -> None:
    errors = [OSError(str(number)) for number in range(20)]
    rig = Rig(*errors)
    assert rig.again(rig.call) == "done"
    assert rig.failed == errors
    assert len(rig.pauses) == 20
    assert rig.pauses[-1] >= LONGEST_PAUSE_S / 2


def test_what_will_not_pass_is_raised_as_it_is() -> None:
    error = ValueError("for good")
    rig = Rig(OSError(), error)
    with pytest.raises(ValueError, match="for good") as caught:
        rig.again(rig.call)
    assert caught.value is error
    assert len(rig.pauses) == 1


def test_a_pause_that_raises_ends_it() -> None:
    rig = Rig(OSError())

    def stop(seconds: float) -> None:
        raise InterruptedError

    again = trying_again(lambda error: type(error) is OSError, failed=rig.failed.append, pause=stop)
    with pytest.raises(InterruptedError):
        again(rig.call)
