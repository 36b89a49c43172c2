"""What a candidate is worth."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.election.ranking.scoring import ScoreInputs, Weights, has_capability, parse_weights, score
from slurp_leader.errors import ConfigurationError

SHARES = st.floats(0, 1)
SECONDS = st.floats(0, 1e12)
NAMES = st.sampled_from(["project_manager", "context-curation", "DECISION_ingestion", "other"])
INPUTS = st.builds(
    ScoreInputs,
    capabilities=st.lists(NAMES, unique=True).map(tuple),
    cpu_free=st.none() | SHARES,
    memory_free=st.none() | SHARES,
    load_free=st.none() | SHARES,
    uptime_s=SECONDS,
    round_trip_s=st.none() | SECONDS,
    terms_led=st.integers(0, 10**12),
    led_s=SECONDS,
)
WEIGHTS = st.lists(st.integers(0, 100), min_size=5, max_size=5).filter(any).map(
    lambda parts: Weights(*(part / sum(parts) for part in parts))
)  # fmt: skip
ONLY = {
    name: Weights(**{each: float(each == name) for each in Weights().to_fields()}) for name in Weights().to_fields()
}
"""Weights by which one component is all of the score."""


def part(component: str, **inputs: Any) -> float:
    return score(ScoreInputs(**inputs), ONLY[component]).total


# ---------------------------------------------------------------- components


@pytest.mark.parametrize(
    ("component", "inputs", "worth"),
    [
        ("capability", {}, 0.0),
        ("capability", {"capabilities": ("project_manager",)}, 0.4),
        ("capability", {"capabilities": ("Context-Curation",)}, 0.4),
        ("capability", {"capabilities": ("decision_ingestion", "decision-ingestion", "cooking")}, 0.2),
        ("capability", {"capabilities": ("project_manager", "context_curation", "decision_ingestion")}, 1.0),
        ("resources", {}, 0.5),
        ("resources", {"cpu_free": 0.2}, 0.2),
        ("resources", {"cpu_free": 0.2, "memory_free": 0.4, "load_free": 0.9}, 0.5),
        ("resources", {"memory_free": 0.0}, 0.0),
        ("uptime", {}, 0.0),
        ("uptime", {"uptime_s": 600.0}, 0.5),
        ("uptime", {"uptime_s": 1800.0}, 0.75),
        ("network", {}, 0.5),
        ("network", {"round_trip_s": 0.0}, 1.0),
        ("network", {"round_trip_s": 0.010}, 0.5),
        ("network", {"round_trip_s": 0.090}, 0.1),
        ("experience", {}, 0.0),
        ("experience", {"terms_led": 3}, 0.25),
        ("experience", {"led_s": 3600.0}, 0.25),
        ("experience", {"terms_led": 9, "led_s": 10_800.0}, 0.75),
    ],
)
def test_a_component_is_worth(component: str, inputs: dict[str, Any], worth: float) -> None:
    assert part(component, **inputs) == pytest.approx(worth)


def test_a_score_is_its_components_by_weight() -> None:
    inputs = ScoreInputs(("project_manager",), 0.3, None, None, 600.0, 0.010, 3, 3600.0)
    found = score(inputs, Weights(0.1, 0.2, 0.3, 0.25, 0.15))
    assert found.parts == pytest.approx(
        {"capability": 0.4, "resources": 0.3, "uptime": 0.5, "network": 0.5, "experience": 0.5}
    )
    assert found.total == pytest.approx(0.04 + 0.06 + 0.15 + 0.125 + 0.075)


@given(INPUTS, WEIGHTS)
def test_scores_are_from_0_to_1(inputs: ScoreInputs, weights: Weights) -> None:
    found = score(inputs, weights)
    assert 0 <= found.total <= 1
    assert all(0 <= each <= 1 for each in found.parts.values())
    assert list(found.parts) == list(weights.to_fields())


@given(INPUTS, WEIGHTS, st.data())
def test_what_is_better_never_lowers_a_score(inputs: ScoreInputs, weights: Weights, data: st.DataObject) -> None:
    numbers = {
        "cpu_free": SHARES, "memory_free": SHARES, "load_free": SHARES, "uptime_s": SECONDS, "round_trip_s": SECONDS,
        "terms_led": st.integers(0, 10**12), "led_s": SECONDS,
    }  # fmt: skip
    for name, values in numbers.items():
        low, high = sorted((data.draw(values), data.draw(values)))
        lower, higher = (score(dataclasses.replace(inputs, **{name: each}), weights).total for each in (low, high))
        if name == "round_trip_s":
            lower, higher = higher, lower
        assert lower <= higher + 1e-12, name
    able = dataclasses.replace(inputs, capabilities=(*inputs.capabilities, "project_manager"))
    assert score(inputs, weights).total <= score(able, weights).total + 1e-12


@pytest.mark.parametrize("name", ["context_curation", "context-curation", "Context_Curation", "CONTEXT-CURATION"])
def test_capabilities_are_the_same_however_they_are_written(name: str) -> None:
    assert has_capability(("other", "context_curation"), name)
    assert has_capability(("other", name), "Context-curation")
    assert not has_capability(("other", "context"), name)


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan, math.inf, True, "0.35", None])
def test_a_weight_that_is_no_share_is_refused_by_name(weight: Any) -> None:
    with pytest.raises(ConfigurationError, match="weight capability") as refused:
        Weights(capability=weight)
    assert refused.value.field == "capability"


@pytest.mark.parametrize("weight", [0.34, 0.36])
def test_weights_that_do_not_sum_to_1_are_refused(weight: float) -> None:
    with pytest.raises(ConfigurationError, match="must sum to 1") as refused:
        Weights(capability=weight)
    assert refused.value.field == "weights"


def test_weights_written_in_decimals_sum_to_1() -> None:
    assert Weights(0.3333333, 0.3333333, 0.3333334, 0, 0).capability == 0.3333333
    best = ScoreInputs(("project_manager", "context_curation", "decision_ingestion"), cpu_free=1.0)
    assert score(best, Weights(1.0, 5e-7, 0, 0, 0)).total == 1.0


def test_weights_are_read_as_people_write_them() -> None:
    assert parse_weights("") == Weights()
    assert parse_weights(" capability = .5, network=0 ,") == Weights(0.5, 0.25, 0.15, 0.0, 0.10)
    assert parse_weights("uptime=1,resources=0", Weights(0, 1, 0, 0, 0)) == Weights(0, 0, 1, 0, 0)


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        ("speed=1", "weights", "no weight 'speed': there are capability, resources, uptime, network, experience"),
        ("=1", "weights", "no weight ''"),
        ("network=0,network=0.15", "network", "given twice"),
        ("network", "network", "weight network has no number: write network=0.2"),
        ("network=", "network", "weight network = '' is no number: write network=0.2"),
        ("network=much", "network", "weight network = 'much' is no number"),
        ("network=nan", "network", "from 0 to 1"),
        ("network=-1,capability=1.5", "capability", "from 0 to 1"),
        ("network=1.5", "network", "from 0 to 1"),
        ("network=.35", "weights", "network 0.35 + experience 0.1 = 1.2, not 1: take 0.2 away from some of them"),
        ("network=0", "weights", "= 0.85, not 1: add 0.15 to some of them"),
    ],
)
def test_wrong_weights_are_refused_with_what_to_write(text: str, field: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_weights(text)
    assert says in str(refused.value)
    assert refused.value.field == field


@given(st.text(alphabet="capability=.0123,uptime- e", max_size=60))
def test_any_other_text_is_refused_too(text: str) -> None:
    try:
        weights = parse_weights(text)
    except ConfigurationError:
        return
    assert sum(weights.to_fields().values()) == pytest.approx(1)


# ---------------------------------------------------------------- as a record


@given(INPUTS)
def test_what_was_measured_can_be_read_again(inputs: ScoreInputs) -> None:
    written = inputs.to_fields()
    read = ScoreInputs.from_fields(json.loads(json.dumps(written)))
    assert read.to_fields() == written
    assert read.capabilities == inputs.capabilities
    assert [getattr(read, name) is None for name in ("cpu_free", "memory_free", "load_free", "round_trip_s")] == [
        getattr(inputs, name) is None for name in ("cpu_free", "memory_free", "load_free", "round_trip_s")
    ]
    for name in ("uptime_s", "led_s", "terms_led"):
        assert getattr(read, name) == pytest.approx(getattr(inputs, name), abs=0.06)


def test_what_is_not_there_is_not_known() -> None:
    assert ScoreInputs.from_fields({"newer": 1}) == ScoreInputs()


@pytest.mark.parametrize(
    "data",
    [
        {"capabilities": "project_manager"},
        {"capabilities": ["a"] * 65},
        {"capabilities": ["a" * 65]},
        {"capabilities": [1]},
        {"capabilities": [["project_manager"]]},
        {"cpu_free": 1.01},
        {"cpu_free": -0.01},
        {"memory_free": 2},
        {"load_free": "0.5"},
        {"load_free": math.nan},
        {"uptime_s": True},
        {"uptime_s": -1},
        {"uptime_s": 1e13},
        {"uptime_s": None},
        {"round_trip_s": math.inf},
        {"round_trip_s": 10**400},
        {"terms_led": -1},
        {"led_s": []},
    ],
)
def test_what_nobody_measures_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        ScoreInputs.from_fields(data)


def test_the_most_that_is_allowed_is_read() -> None:
    data = {"capabilities": ["a" * 64] * 64, "cpu_free": 1, "uptime_s": 1e12}
    assert ScoreInputs.from_fields(data).uptime_s == 1e12
