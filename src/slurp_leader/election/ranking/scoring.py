"""What a candidate is worth, from 0 to 1: a pure function of what it measured.

The original names five components and does not show its numbers, so these are ours. A score says who goes first, and
never who may lead.

==========  ======  ======================================================================================
component   weight  from
==========  ======  ======================================================================================
capability  .35     ``project_manager`` .4, ``context_curation`` .4, ``decision_ingestion`` .2: the original's
                    functions of an admin; who generates context weighs most
resources   .25     mean of what is free of processor, memory and load; what was not measured is left out
uptime      .15     u / (u + 10 min): after ten minutes half; hardly more after a day, when it says nothing new
network     .15     10 ms / (10 ms + round trip to etcd): in one data centre near 1, across a continent below .2
experience  .10     mean of terms led t / (t + 3) and time led l / (l + 1 h), by this process
==========  ======  ======================================================================================

What is not known counts as a half, so that a node is neither preferred nor put back for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from slurp_leader.election.fields import capabilities, number
from slurp_leader.errors import ConfigurationError

_CAPABILITIES = {"project_manager": 0.4, "context_curation": 0.4, "decision_ingestion": 0.2}
_HALF_UPTIME_S = 600.0
_HALF_ROUND_TRIP_S = 0.010
_HALF_TERMS = 3
_HALF_LED_S = 3600.0
_UNKNOWN = 0.5
_MOST = 1e12
"""Nothing that is measured is larger; a record with a larger number is forged."""
_NEAR_ENOUGH = 1e-6
"""Weights written in decimals sum to 1 up to so much."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each component of a score counts: 0 to 1 each, 1 in all. Equal on all nodes of a cluster.

    Raises:
        ConfigurationError: One is no such number, or they do not sum to 1.
    """

    capability: float = 0.35
    resources: float = 0.25
    uptime: float = 0.15
    network: float = 0.15
    experience: float = 0.10

    def __post_init__(self) -> None:
        for name, weight in self.to_fields().items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
                raise ConfigurationError(f"weight {name} = {weight!r:.40}: from 0 to 1", field=name)
        total = math.fsum(self.to_fields().values())
        if abs(total - 1) > _NEAR_ENOUGH:
            raise ConfigurationError(f"the five weights sum to {total:.6g}; they must sum to 1", field="weights")

    def to_fields(self) -> dict[str, float]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Free:
    """What is free of a machine, or of the part of it that a process may use: shares, 0 to 1. None: not known."""

    cpu: float | None = None
    memory: float | None = None
    load: float | None = None


@dataclass(frozen=True, slots=True)
class ScoreInputs:
    """What a candidate measured of itself. None: not known.

    Attributes:
        capabilities: Names.
        cpu_free, memory_free, load_free: Shares, 0 to 1.
        uptime_s: Since the process began to stand.
        round_trip_s: To etcd, of late.
        terms_led, led_s: By this process: how many terms, and for how long in all.
    """

    capabilities: tuple[str, ...] = ()
    cpu_free: float | None = None
    memory_free: float | None = None
    load_free: float | None = None
    uptime_s: float = 0.0
    round_trip_s: float | None = None
    terms_led: int = 0
    led_s: float = 0.0

    def to_fields(self) -> dict[str, Any]:
        """As plain data, rounded to what matters; what is not known is left out."""
        known = {
            "cpu_free": self.cpu_free,
            "memory_free": self.memory_free,
            "load_free": self.load_free,
            "round_trip_s": self.round_trip_s,
        }
        return {
            "capabilities": list(self.capabilities),
            **{name: round(value, 5) for name, value in known.items() if value is not None},
            "uptime_s": round(self.uptime_s, 1),
            "terms_led": self.terms_led,
            "led_s": round(self.led_s, 1),
        }

    @classmethod
    def from_fields(cls, data: Mapping[str, Any]) -> ScoreInputs:
        """Raises TypeError or ValueError when it is something else; unknown fields are ignored."""
        return cls(
            capabilities=capabilities(data.get("capabilities", [])),
            cpu_free=_known(data, "cpu_free", 1.0),
            memory_free=_known(data, "memory_free", 1.0),
            load_free=_known(data, "load_free", 1.0),
            uptime_s=number(data.get("uptime_s", 0.0), _MOST),
            round_trip_s=_known(data, "round_trip_s", _MOST),
            terms_led=int(number(data.get("terms_led", 0), _MOST)),
            led_s=number(data.get("led_s", 0.0), _MOST),
        )


@dataclass(frozen=True, slots=True)
class Score:
    """`parts`: each component, 0 to 1, before it is weighted. `total`: 0 to 1."""

    total: float
    parts: dict[str, float] = field(default_factory=dict)


def score(inputs: ScoreInputs, weights: Weights) -> Score:
    """What a candidate is worth."""
    free = [share for share in (inputs.cpu_free, inputs.memory_free, inputs.load_free) if share is not None]
    terms = inputs.terms_led / (inputs.terms_led + _HALF_TERMS)
    led = inputs.led_s / (inputs.led_s + _HALF_LED_S)
    parts = {
        "capability": math.fsum(
            part for name, part in _CAPABILITIES.items() if has_capability(inputs.capabilities, name)
        ),
        "resources": math.fsum(free) / len(free) if free else _UNKNOWN,
        "uptime": inputs.uptime_s / (inputs.uptime_s + _HALF_UPTIME_S),
        "network": _UNKNOWN
        if inputs.round_trip_s is None
        else _HALF_ROUND_TRIP_S / (_HALF_ROUND_TRIP_S + inputs.round_trip_s),
        "experience": (terms + led) / 2,
    }
    total = math.fsum(part * getattr(weights, name) for name, part in parts.items())
    return Score(min(1.0, max(0.0, total)), parts)


def parse_weights(text: str, base: Weights | None = None) -> Weights:
    """Read weights as people write them: ``capability=.5, network=0``. What is not named stays as it is in `base`.

    Args:
        text: Pairs of name and number; empty: all of `base`.
        base: What is not named; None: the defaults.

    Raises:
        ConfigurationError: No such weight, one named twice, no number, or they do not sum to 1. `field` names which.
    """
    weights = (base or Weights()).to_fields()
    named: dict[str, float] = {}
    for pair in filter(None, (each.strip() for each in text.split(","))):
        name, equals, given = (part.strip() for part in pair.partition("="))
        if name not in weights:
            raise ConfigurationError(f"no weight {name!r:.40}: there are {', '.join(weights)}", field="weights")
        if name in named:
            raise ConfigurationError(f"weight {name} is given twice: name it once", field=name)
        try:
            named[name] = float(given)
        except ValueError:
            fault = f"= {given!r:.40} is no number" if equals else "has no number"
            raise ConfigurationError(f"weight {name} {fault}: write {name}=0.2", field=name) from None
    weights |= named
    off = math.fsum(weights.values()) - 1
    if all(0 <= weight <= 1 for weight in named.values()) and abs(off) > _NEAR_ENOUGH:
        all_of_them = " + ".join(f"{name} {weight:g}" for name, weight in weights.items())
        change = f"take {off:.6g} away from" if off > 0 else f"add {-off:.6g} to"
        raise ConfigurationError(f"{all_of_them} = {off + 1:.6g}, not 1: {change} some of them", field="weights")
    return Weights(**weights)


def has_capability(capabilities: tuple[str, ...], name: str) -> bool:
    """Whether it is among them. ``-`` and ``_`` are alike, and so are upper and lower case."""
    return _normal(name) in map(_normal, capabilities)


def _normal(name: str) -> str:
    return name.lower().replace("-", "_")


def _known(data: Mapping[str, Any], name: str, most: float) -> float | None:
    value = data.get(name)
    return None if value is None else number(value, most)
