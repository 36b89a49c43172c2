"""All that was found out about one file, before anybody words it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from slurp_leader.generators.languages import Kind, Language
from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.signals import Signal, Topic
from slurp_leader.generators.surroundings import Surroundings, is_test
from slurp_leader.generators.symbols import Structure
from slurp_leader.generators.technologies import Dependency, Origin
from slurp_leader.jobs.result import History, Symbol

_CALLABLE = {"function", "method", "macro"}
_TYPE = {"class", "struct", "interface", "trait", "enum", "type"}
_TEST_CASE = re.compile(r"(?:test|Test|Benchmark|Fuzz|Example)")
_CALLED_CASE = bounded(r"(?m)^\s*(?:it|test)(?:\.each\([^\n]*\))?\(|#\[(?:tokio::)?test\]|@(?:Parameterized)?Test\b")


@dataclass(frozen=True)
class Facts:
    """What is known about one file.

    Attributes:
        path: From the workspace root.
        text: Its text.
        size: Bytes.
        history_note: Why there is no history; empty when there is one.
    """

    path: str
    language: Language
    text: str
    size: int
    structure: Structure
    dependencies: tuple[Dependency, ...]
    surroundings: Surroundings
    signals: tuple[Signal, ...]
    history: History | None
    history_note: str

    @cached_property
    def lines(self) -> int:
        """Lines of text; a last line without a line end counts."""
        return self.text.count("\n") + (not self.text.endswith("\n"))

    @property
    def name(self) -> str:
        """The file name."""
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The folder; empty for the workspace root."""
        return self.path.rpartition("/")[0]

    @property
    def is_test(self) -> bool:
        """It tests something."""
        return self.is_code and is_test(self.path)

    @property
    def is_code(self) -> bool:
        """It is a program or a part of one."""
        return self.language.kind in (Kind.CODE, Kind.SCRIPT)

    @cached_property
    def callables(self) -> tuple[Symbol, ...]:
        """Functions and methods."""
        return tuple(one for one in self.structure.symbols if one.kind in _CALLABLE)

    @cached_property
    def types(self) -> tuple[Symbol, ...]:
        """Classes, structs, interfaces and the like, at the top level."""
        return tuple(one for one in self.structure.symbols if one.kind in _TYPE and not one.parent)

    @cached_property
    def exported(self) -> tuple[Symbol, ...]:
        """Names at the top level that are meant for use from outside; a test exports nothing."""
        if self.is_test or not self.is_code:
            return ()
        named = (one for one in self.structure.symbols if one.exported and not one.parent)
        return tuple({one.name: one for one in named if not one.name.startswith("__")}.values())

    @cached_property
    def testable(self) -> tuple[Symbol, ...]:
        """Exported names that do something: neither constants nor variables."""
        return tuple(one for one in self.exported if one.kind not in ("constant", "variable"))

    @cached_property
    def own_tests(self) -> int:
        """The line where tests begin inside the file itself, as Rust has them; 0 when there are none."""
        before, found, _ = self.structure.code.partition("#[cfg(test)]")
        return before.count("\n") + 1 if found and self.language.name == "Rust" else 0

    @cached_property
    def cases(self) -> int:
        """Test cases in it."""
        if not self.is_test:
            return 0
        named = sum(bool(_TEST_CASE.match(one.name)) for one in self.callables)
        return max(named, len(_CALLED_CASE.findall(self.structure.code)))

    def methods_of(self, owner: Symbol) -> tuple[Symbol, ...]:
        """The methods of a type, in the order of the file."""
        return tuple(one for one in self.callables if one.parent == owner.name)

    def about(self, *topics: Topic) -> Iterator[Signal]:
        """Signals of some topics, the weightiest first."""
        told = (signal for signal in self.signals if signal.rule.in_tests or not self.is_test)
        return (signal for signal in told if signal.rule.topic in topics)

    def from_origin(self, origin: Origin) -> tuple[Dependency, ...]:
        """Imports of one origin."""
        return tuple(one for one in self.dependencies if one.origin is origin)
