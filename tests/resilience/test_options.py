"""What the options of a breaker mean, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from slurp_leader.errors import ConfigurationError
from slurp_leader.resilience import BreakerOptions
from slurp_leader.resilience.circuit import Rules


def test_the_defaults_are_those_of_the_rules() -> None:
    assert BreakerOptions().rules == Rules()


def test_one_that_is_switched_off_never_has_enough_calls() -> None:
    assert BreakerOptions(enabled=False).rules.minimum_calls == math.inf


def test_options_become_rules() -> None:
    options = BreakerOptions(
        window="2m",
        minimum_calls=3,
        failure_ratio=0.25,
        slow_call="500ms",
        open_base=1,
        open_cap="1h",
        open_jitter=0,
        probe_timeout=7,
    )
    assert options.rules == Rules(120, 3, 0.25, 0.5, 1, 3600, 0, 7)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"open_base": 61}, "breaker.open_cap.* 60 s is less than open_base 61 s: raise it or lower open_base"),
        ({"failure_ratio": 0}, "breaker.failure_ratio"),
        ({"failure_ratio": 1.1}, "breaker.failure_ratio"),
        ({"minimum_calls": 0}, "breaker.minimum_calls"),
        ({"window": 0}, "breaker.window"),
        ({"open_jitter": 2}, "breaker.open_jitter"),
        ({"slow_call": 0}, "breaker.slow_call"),
        ({"probe_timeout": 0}, "breaker.probe_timeout"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        BreakerOptions(**fields)
