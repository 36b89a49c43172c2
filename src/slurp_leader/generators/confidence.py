"""How far the node can be trusted, and on what evidence.

The confidence is the sum of the weights. A file of which only the name could be used gets little; one that was parsed,
documents itself and has manifests, history and tests around it gets nearly all. Weights of nothing stay in the list:
that something was not there, or could not be asked, is worth knowing.
"""

from __future__ import annotations

from collections.abc import Iterator

from slurp_leader.generators.facts import Facts
from slurp_leader.generators.languages import TEXT, Kind
from slurp_leader.generators.technologies import Origin
from slurp_leader.generators.wording import counted, listed
from slurp_leader.jobs.result import Evidence


def evidence(facts: Facts) -> tuple[Evidence, ...]:
    """One entry for each thing that was looked at. The weights add up to 1 at most."""
    return tuple(
        Evidence(source=source, weight=weight, note=note)
        for source, weight, note in (
            _path(facts),
            _parser(facts),
            _documentation(facts),
            _imports(facts),
            *_around(facts),
            _history(facts),
        )
    )


def confidence(found: tuple[Evidence, ...]) -> float:
    """The sum of the weights, to two digits."""
    return min(1.0, round(sum(one.weight for one in found), 2))


def _path(facts: Facts) -> tuple[str, float, str]:
    known = facts.language is not TEXT
    return (
        "path",
        0.1 if known else 0.05,
        f"{facts.language.name} by its name or first line" if known else "no known language",
    )


def _parser(facts: Facts) -> tuple[str, float, str]:
    structure = facts.structure
    names = counted(len(structure.symbols), "symbol")
    if structure.reader == "text":
        note = structure.note or f"read as text; {names} by pattern"
        return "parser", 0.1 if structure.symbols else 0.0, note
    if structure.broken:
        return "parser", 0.2, f"{structure.reader}: {names}, around syntax that it does not understand"
    return "parser", 0.3, f"{structure.reader}: {names}" + (f"; {structure.note}" if structure.note else "")


def _documentation(facts: Facts) -> tuple[str, float, str]:
    if facts.structure.doc:
        words = len(facts.structure.doc.split())
        return "documentation", 0.25 if words >= 8 else 0.15, f"the file explains itself in {counted(words, 'word')}"
    documented = sum(bool(one.doc) for one in facts.structure.symbols)
    if documented:
        return (
            "documentation",
            0.12,
            f"{documented} of {counted(len(facts.structure.symbols), 'symbol')} explained, not the file",
        )
    return "documentation", 0.0, "none"


def _imports(facts: Facts) -> tuple[str, float, str]:
    if not facts.dependencies:
        return "imports", 0.0, "none"
    origins = [origin.value for origin in Origin if facts.from_origin(origin)]
    return "imports", 0.1, f"{counted(len(facts.dependencies), 'module')} of {listed(origins)}"


def _around(facts: Facts) -> Iterator[tuple[str, float, str]]:
    around = facts.surroundings
    if around.looked < 1:
        yield "surroundings", 0.0, "not looked at: max_depth is 0"
        return
    paths = [one.path for one in around.manifests]
    yield "manifest", 0.1 if paths else 0.0, listed(paths) if paths else "none from here up to the root"
    if facts.is_test:
        yield (
            "tests",
            0.05 if around.subject else 0.0,
            f"tests {around.subject}" if around.subject else "what it tests is not told by its name",
        )
    elif around.tests or facts.language.kind is Kind.CODE:  # nobody writes test files for a Makefile
        none = "none in the usual places that imports it or bears its name"
        yield "tests", 0.05 if around.tests else 0.0, listed([one.path for one in around.tests]) or none


def _history(facts: Facts) -> tuple[str, float, str]:
    history = facts.history
    if history is None:
        return "history", 0.0, facts.history_note
    changed = "; the file differs from it" if history.modified else ""
    return "history", 0.1, f"{counted(history.total, 'commit')} up to {history.commit[:12]}{changed}"
