"""Names that the outside relies on: public names, log events, instruments, settings."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
import subprocess
import sys
import textwrap

import pytest

import slurp_leader
from architecture.source import PACKAGE, all_modules, trees
from slurp_leader.options import Options
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.telemetry.metrics import INSTRUMENTS, Kind

PUBLIC = {
    "ConfigurationError", "HandoverError", "LeaderControl", "LifecycleError", "NoLeaderError", "OrderRefusedError",
    "ContextGenerationRequest", "ContextGenerationResult", "ContextNode", "ElectionOptions", "ElectionState",
    "Elections", "FenceGate", "FenceMiddleware", "FileContextGenerator", "FileRefusedError", "Generator",
    "JobCancelledError", "JobContext", "JobFailedError", "JobHandle", "JobInterrupted", "JobStatus", "LeaderChanged",
    "LeaderElection", "LeaderInfo", "LeaderObserver", "LeadershipLostError", "MemoryFence", "NotLeaderError",
    "Priority", "QueueFullError", "ResultPendingError", "RetryAfterError", "SlurpLeaderError", "SlurpLeaderSystem",
    "SlurpSettings", "SqlFence", "StaleTokenError", "StateChanged", "StoreError", "Term", "TerminalError",
    "UcxlAddress", "fence_headers",
}  # fmt: skip
"""What `slurp_leader` promises. To take a name away is to break programs."""


def test_the_public_names_are_those_promised() -> None:
    assert set(slurp_leader.__all__) == PUBLIC
    assert sorted(slurp_leader.__all__) == list(slurp_leader.__all__)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_can_be_had_and_says_what_it_is(name: str) -> None:
    value = getattr(slurp_leader, name)
    assert name in dir(slurp_leader)
    assert inspect.getdoc(value)


def test_what_a_type_checker_sees_is_what_there_is() -> None:
    """The names for type checkers stand in an `if TYPE_CHECKING` block, from the modules they are loaded from."""
    declared = {
        alias.name: node.module
        for node in ast.walk(trees()["__init__.py"])
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("slurp_leader.")
        for alias in node.names
    }
    assert set(declared) == PUBLIC
    for name, module in declared.items():
        assert getattr(importlib.import_module(module), name) is getattr(slurp_leader, name)


def test_importing_the_package_loads_none_of_its_parts() -> None:
    program = "import sys, slurp_leader; print([name for name in sys.modules if name.startswith('slurp_leader.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


PACKAGES = sorted(path.parent.relative_to(PACKAGE.parent).parts for path in PACKAGE.rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES, ids=".".join)
def test_every_name_that_a_package_lists_exists(package: tuple[str, ...]) -> None:
    module = importlib.import_module(".".join(package))
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name), name


def test_log_events_are_unique_and_named_after_their_subject() -> None:
    values = [event.value for event in LogEvent.__members__.values()]
    assert len(set(values)) == len(LogEvent.__members__)
    for name, event in LogEvent.__members__.items():
        assert re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", event.value), event.value
        assert name == event.value.replace(".", "_").upper()


def test_instruments_are_unique_and_named_by_convention() -> None:
    names = [instrument.name for instrument in INSTRUMENTS]
    assert len(set(names)) == len(names)
    for instrument in INSTRUMENTS:
        assert re.fullmatch(r"slurp(\.[a-z]+(_[a-z]+)*){2,3}", instrument.name), instrument.name
        assert instrument.unit in ("1", "s", "By") or re.fullmatch(r"\{[a-z]+\}", instrument.unit), instrument
        assert instrument.description, instrument.name
        assert not set(instrument.attributes) & {"job_id", "path", "lease_id", "token"}, instrument.name
        if instrument.name.endswith(".duration"):
            assert (instrument.kind, instrument.unit) == (Kind.HISTOGRAM, "s"), instrument.name


def _options() -> list[type[Options]]:
    all_modules()

    def below(kind: type[Options]) -> list[type[Options]]:
        return [deeper for each in kind.__subclasses__() for deeper in (each, *below(each))]

    found = [kind for kind in below(Options) if kind.__module__.startswith("slurp_leader.")]
    return sorted(set(found), key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", _options(), ids=lambda kind: kind.__name__)
def test_every_option_says_what_it_means(kind: type[Options]) -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    explained = {
        field.target.id
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
    own = {name for name in kind.model_fields if name in inspect.get_annotations(kind)}
    assert own - explained == set()
