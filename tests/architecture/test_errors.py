"""The tree of errors: drawn once, complete, and fit to travel between processes."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from slurp_leader import errors
from slurp_leader.errors import Outcome, SlurpLeaderError


def _subclasses(kind: type[SlurpLeaderError]) -> list[type[SlurpLeaderError]]:
    own = [each for each in kind.__subclasses__() if each.__module__ == errors.__name__]
    return [kind, *(deeper for each in own for deeper in _subclasses(each))]


ERRORS = _subclasses(SlurpLeaderError)


def _drawn() -> dict[str, tuple[str | None, str | None]]:
    """Of each class in the picture: its parent, and the built-in error beside it."""
    found: dict[str, tuple[str | None, str | None]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ((?:\|  |   )*)(\+- )?([A-Z]\w+)(?: \((\w+)\))?(?:\s|$)", line)
        if match is None or (match[2] is None and path):
            continue
        depth = len(match[1]) // 3 + 1 if match[2] else 0
        path[depth:] = [match[3]]
        found[match[3]] = (path[depth - 1] if depth else None, match[4])
    return found


def test_the_picture_of_the_tree_is_the_tree() -> None:
    def parent(kind: type[SlurpLeaderError]) -> str | None:
        return next((base.__name__ for base in kind.__bases__ if issubclass(base, SlurpLeaderError)), None)

    def builtin(kind: type[SlurpLeaderError]) -> str | None:
        return next((base.__name__ for base in kind.__bases__ if base.__module__ == "builtins"), None)

    real = {kind.__name__: (parent(kind), builtin(kind)) for kind in ERRORS}
    real["SlurpLeaderError"] = (None, None)  # an Exception, which the picture need not say
    assert _drawn() == real


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_travels_with_its_facts(kind: type[SlurpLeaderError]) -> None:
    own = inspect.get_annotations(kind).keys() - {"outcome"}
    facts = {name: getattr(kind, name, None) for name in own}
    error = kind("what happened", **facts, outcome=Outcome.UNKNOWN, more={"a": 1})
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is kind
    assert str(arrived) == "what happened"
    assert vars(arrived) == vars(error)
    assert arrived.outcome is Outcome.UNKNOWN
    assert arrived.more == {"a": 1}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_says_one_sentence_of_its_own(kind: type[SlurpLeaderError]) -> None:
    assert "__doc__" in vars(kind)
    assert str(kind()) == (kind.__doc__ or "").strip().splitlines()[0]
