"""Layers: what each source sets, in order, and which source won."""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from slurp_leader.options.problems import field_at, is_secret


class ConfigurationWarning(UserWarning):
    """Settings that work, and that somebody should look at."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source sets: values by section, and for each dotted field where exactly it stands."""

    values: Mapping[str, Any] = field(repr=False)
    origins: Mapping[str, str]


def layer_of(values: Mapping[str, Any], origin: str) -> Layer:
    """A layer whose values all stand in one place."""
    return Layer(values, {name: origin for name, _ in leaves(values)})


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value with its dotted name. Ready-made options count with all their fields."""
    for name, value in values.items():
        if isinstance(value, BaseModel):
            yield from ((f"{prefix}{name}.{inner}", getattr(value, inner)) for inner in type(value).model_fields)
        elif isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """From dotted names to nested mappings."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        target = nested
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return nested


def winning_origins(layers: Sequence[Layer]) -> dict[str, str]:
    """For each field that was set: the origin in the strongest layer. `layers` begin with the strongest."""
    return {name: origin for layer in reversed(layers) for name, origin in layer.origins.items()}


def warn_of_readable_secrets(model: type[BaseModel], path: Path, values: Mapping[str, Any]) -> None:
    """Warn when a file holds secrets and everybody on the machine may read it."""
    secret = [name for name, _ in leaves(values) if _names_secret(model, name)]
    if secret and path.stat().st_mode & stat.S_IROTH:
        warnings.warn(
            f"{path} holds {', '.join(secret)}, and every user of this machine may read it: "
            "chmod 600 it, or put secrets into the secrets directory",
            ConfigurationWarning,
            stacklevel=2,
        )


def _names_secret(model: type[BaseModel], name: str) -> bool:
    found = field_at(model, tuple(name.split(".")))
    return found is not None and is_secret(found)
