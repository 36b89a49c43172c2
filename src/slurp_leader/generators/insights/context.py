"""Findings about what stands around a file: what it is built on, who tests it, who changed it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from slurp_leader.generators.facts import Facts
from slurp_leader.generators.insights.finding import Finding, span
from slurp_leader.generators.languages import Kind
from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.technologies import Dependency, Origin
from slurp_leader.generators.wording import capitalised, counted, listed, quoted

_LOGGED = bounded(
    r"\b(?:log|logger|_log|_logger|slog|logging|console)\.(debug|info|warn|warning|error|exception|critical|fatal)\b",
    re.I,
)
_OF = {Origin.STANDARD: "of the standard library", Origin.PROJECT: "of the project", Origin.THIRD_PARTY: "of others"}
_FIXED = re.compile(r"^\s*(?:==|=?v?\d+(?:\.\d+)*$)")


def built_on(facts: Facts) -> Iterator[Finding]:
    """The workspace files that it needs."""
    files = list(dict.fromkeys(file for _, file in facts.surroundings.imported))
    if files and not facts.is_test:
        yield Finding(4.5, f"Builds on {listed([_near(facts, file) for file in files], 6)}.")


def _near(facts: Facts, file: str) -> str:
    """A path, short where it stands in the same folder."""
    return file.rpartition("/")[2] if file.rpartition("/")[0] == facts.folder else file


def foreign_packages(facts: Facts) -> Iterator[Finding]:
    """Packages of others, with the versions that the manifest asks for."""
    packages = {one.package: one for one in facts.from_origin(Origin.THIRD_PARTY)}
    if packages:
        yield Finding(4, f"Needs {listed([_versioned(one) for one in packages.values()], 6)} from outside the project.")


def _versioned(one: Dependency) -> str:
    return f"{one.package} {one.wanted}".strip()


def loose_versions(facts: Facts) -> Iterator[Finding]:
    """Packages of others that may change without anybody noticing."""
    packages = {one.package: one for one in facts.from_origin(Origin.THIRD_PARTY)}
    asked = [one for one in packages.values() if one.wanted]
    loose = [one for one in asked if not _FIXED.match(one.wanted)]
    if loose and facts.surroundings.manifests:
        where = facts.surroundings.manifests[0].path
        yield Finding(
            4.5,
            f"{where} does not fix the version of {listed([_versioned(one) for one in loose])}; a lock file has to.",
        )
    unknown = [one.package for one in packages.values() if not one.wanted]
    if unknown and asked:
        yield Finding(
            4,
            f"No manifest nearby asks for {quoted(unknown)}: comes along with something else, or under another name.",
        )


def as_a_manifest(facts: Facts) -> Iterator[Finding]:
    """What a manifest asks for."""
    own = next((one for one in facts.surroundings.manifests if one.path == facts.path), None)
    if own is None or not own.dependencies:
        return
    wishes = [f"{name} {wish}".strip() for name, wish in own.dependencies.items()]
    yield Finding(7, f"Asks for {counted(len(wishes), 'package')}: {listed(wishes, 8)}.")
    loose = [name for name, wish in own.dependencies.items() if not _FIXED.match(wish)]
    if loose:
        yield Finding(5.5, f"Leaves the version open for {len(loose)} of them: {listed(loose, 8)}.")


def coupling(facts: Facts) -> Iterator[Finding]:
    """How much of what it imports is ours, others' or the language's."""
    if not facts.dependencies:
        if facts.is_code and facts.structure.reader != "text":
            yield Finding(5, "Imports nothing: a leaf that can be moved, tested and understood alone.")
        return
    by_origin = Counter(one.origin for one in facts.dependencies)
    parts = [f"{by_origin[origin]} {_OF[origin]}" for origin in Origin if by_origin[origin]]
    if len(parts) == 1:
        parts = [f"all {part.partition(' ')[2]}" for part in parts] if len(facts.dependencies) > 1 else parts
    text = f"Imports {counted(len(facts.dependencies), 'module')}: {listed(parts)}."
    if not by_origin[Origin.PROJECT]:
        text += " None of the project: it can be moved or reused alone."
    yield Finding(5.5, text)


def folders_used(facts: Facts) -> Iterator[Finding]:
    """Which parts of the project it ties together."""
    files = dict.fromkeys(file for _, file in facts.surroundings.imported)
    folders = Counter(file.rpartition("/")[0] or "the root" for file in files)
    others = [(folder, count) for folder, count in folders.most_common() if folder != facts.folder]
    if others:
        named = [f"{folder} ({count})" for folder, count in sorted(others, key=lambda item: (-item[1], item[0]))]
        yield Finding(5, f"Reaches into {counted(len(others), 'other folder')} of the project: {listed(named, 5)}.")
    farther = len(facts.surroundings.related) - len(files)
    if facts.surroundings.looked >= 3 and farther > 0:
        steps = facts.surroundings.looked - 1
        yield Finding(4, f"Within {steps} import steps it depends on {len(files) + farther} workspace files.")


def surface(facts: Facts) -> Iterator[Finding]:
    """How much of it is promised to others."""
    tops = [one for one in facts.structure.symbols if not one.parent and not one.name.startswith("__")]
    if facts.is_test or facts.language.kind is not Kind.CODE or len(tops) < 3:
        return
    shown = len(facts.exported)
    private = sum(one.lines for one in tops if not one.exported)
    total = sum(one.lines for one in tops)
    free = f"{private / max(1, total):.0%} of the lines can change freely"
    yield Finding(5, f"Promises {shown} of {len(tops)} top-level names to others; {free}.")


def project(facts: Facts) -> Iterator[Finding]:
    """Which project it belongs to, and what that asks of the machine."""
    for one in facts.surroundings.manifests:
        if one.name or one.runtime:
            runtime = f", which asks for {one.ecosystem} {one.runtime}" if one.runtime else ""
            yield Finding(2.5, f"Belongs to {one.name or 'a project'} ({one.path}){runtime}.")


def tests(facts: Facts) -> Iterator[Finding]:
    """Who tests it, and what they do not mention."""
    if facts.is_test or not facts.is_code or facts.surroundings.looked < 1:
        return
    found = facts.surroundings.tests
    if facts.own_tests and not found:
        yield Finding(3.5, f"Tested in the file itself, from line {facts.own_tests} on.")
        return
    if not found:
        if facts.testable and facts.language.kind is Kind.CODE:
            names = counted(len(facts.testable), "public name")
            yield Finding(5, f"No test file in the usual places imports it or bears its name; {names} to cover.")
        return
    words = frozenset().union(*(test.words for test in found))
    missing = [one.name for one in facts.testable if one.name not in words]
    paths = listed([test.path for test in found], 3)
    if missing:
        if len(facts.testable) == 1:
            yield Finding(
                6, f"Tested by {paths}, which {'does' if len(found) == 1 else 'do'} not name {quoted(missing)}."
            )
            return
        named = len(facts.testable) - len(missing)
        share = f"{named or 'none'} of its {len(facts.testable)} public names {'is' if named == 1 else 'are'}"
        yield Finding(6, f"Tested by {paths}: {share} named there; missing: {quoted(missing)}.")
    else:
        yield Finding(3.5, f"Tested by {paths}, where all its public names occur.")


def as_a_test(facts: Facts) -> Iterator[Finding]:
    """What a file of tests holds."""
    if not facts.is_test:
        return
    subject = f" of {facts.surroundings.subject}" if facts.surroundings.subject else ""
    checks = sum(len(one.lines) for one in facts.signals if one.rule.says == "assertions")
    if facts.cases:
        yield Finding(7, f"{counted(facts.cases, 'test')}{subject} with {counted(checks, 'line')} of assertions.")
        longest = max(facts.callables, key=lambda one: (one.lines, -one.line), default=None)
        if longest and longest.lines > 25:
            yield Finding(
                4.5, f"The longest, `{longest.qualified_name}`, takes {longest.lines} lines ({span(longest)})."
            )
    else:
        yield Finding(5, f"Holds no test itself{subject}: helpers for others.")


def cases_needed(facts: Facts) -> Iterator[Finding]:
    """Where most test cases are needed."""
    deep = sorted(facts.callables, key=lambda one: (-one.branches, one.line))[:3]
    deep = [one for one in deep if one.branches >= 4]
    if deep and not facts.is_test:
        named = [f"`{one.qualified_name}` ({span(one)}): at least {one.branches + 1}" for one in deep]
        yield Finding(6, f"Cases needed to take every branch once: {'; '.join(named)}.")


def people(facts: Facts) -> Iterator[Finding]:
    """Whom to ask, where there is a choice. Plain authorship is no finding: it stands in the node's history."""
    history = facts.history
    if history is None or len(history.authors) < 2:
        return
    top, last = history.authors[0], history.commits[0]
    others = counted(len(history.authors) - 1, "other")
    yield Finding(
        3.5,
        f"{top.name} knows it best, with {top.commits} of the last {history.total} commits; {others} made the rest. "
        f"Last changed on {last.date[:10]} by {last.author}: “{last.subject}”.",
    )


def churn(facts: Facts) -> Iterator[Finding]:
    """How much it moves."""
    history = facts.history
    if history is None:
        return
    moved = history.added + history.deleted
    first = history.commits[-1].date[:10]
    if history.total >= 3 and moved > 2 * facts.lines:
        yield Finding(
            6,
            f"{history.total} commits since {first} moved {moved} lines, {moved / facts.lines:.1f} times its present "
            "length: not settled yet.",
        )
    elif history.total >= 3:
        many = "at least " if history.truncated else ""
        text = f"{many}{history.total} commits since {first}: {history.added} lines added, {history.deleted} deleted."
        yield Finding(3, capitalised(text))
    if history.modified:
        yield Finding(6.5, "Differs from what is committed: these lines are nobody's commit yet.")


def logging(facts: Facts) -> Iterator[Finding]:
    """What it tells its operators."""
    if not facts.is_code or facts.is_test:
        return
    levels = Counter(level.lower() for level in _LOGGED.findall(facts.structure.code))
    if levels:
        named = [f"{count} {level}" for level, count in levels.most_common()]
        yield Finding(5, f"Logs in {counted(sum(levels.values()), 'place')}: {listed(named)}.")
    elif len(facts.callables) >= 5:
        yield Finding(3, "Logs nothing: errors reach operators only through its callers.")
