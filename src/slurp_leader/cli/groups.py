"""Groups of options: what belongs together is one parameter of a command.

A group is a dataclass. Its fields are options, annotated as the parameters of a command are, and they stand in the help
where the group stands among these. What a derived group fixes (``init=False``) is no option of its commands.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_type_hints


def spread(parameters: Iterable[inspect.Parameter]) -> Iterator[inspect.Parameter]:
    """The parameters, with the options of each group in its place."""
    for parameter in parameters:
        group = parameter.annotation
        if not _is_group(group):
            yield parameter
            continue
        types = get_type_hints(group, include_extras=True)
        for option in _options(group):
            default = inspect.Parameter.empty if option.default is MISSING else option.default
            yield parameter.replace(name=option.name, annotation=types[option.name], default=default)


def gathered(parameters: Iterable[inspect.Parameter], given: dict[str, Any]) -> dict[str, Any]:
    """What was given for the options, as the parameters take it: for each group one value."""
    return {parameter.name: _value(parameter, given) for parameter in parameters}


def _value(parameter: inspect.Parameter, given: dict[str, Any]) -> Any:
    group: Any = parameter.annotation
    if not _is_group(group):
        return given[parameter.name]
    return group(**{option.name: given[option.name] for option in _options(group)})


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and is_dataclass(annotation)


def _options(group: Any) -> list[Field[Any]]:
    return [field for field in fields(group) if field.init]
