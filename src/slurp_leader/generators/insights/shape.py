"""Findings about how a file is built: what it offers, where it is hard to follow, what it leaves unsaid."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from slurp_leader.generators.facts import Facts
from slurp_leader.generators.insights.finding import Finding, span
from slurp_leader.generators.languages import Kind
from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.wording import at_lines, counted, listed, quoted
from slurp_leader.jobs.result import Symbol

LONG_LINES, MANY_BRANCHES, LONG_FILE, WIDE = 60, 12, 600, 120
_RAISED = bounded(r"\braise\s+([A-Za-z_][\w.]*)|\bthrow\s+new\s+([\w.]+)")
_CONTAINER = bounded(
    r"(?m)^(?:var\s+)?(\w+)\b[^=\n]*=\s*(?:\{|\[|(?:dict|list|set|deque|defaultdict|OrderedDict|make)\(|map\[)"
)
_ENTRY = bounded(r"(?m)^if __name__ ==|^func main\(\)|^(?:pub )?(?:async )?fn main\(|\bstatic void main\(|^int main\(")


def public_face(facts: Facts) -> Iterator[Finding]:
    """What a user of the file works with, with the methods of its types."""
    offered = sorted(facts.exported, key=lambda one: -one.lines)  # stable: equals stay in the order of the file
    types = [one for one in offered if one in facts.types]
    if len(types) > 8:
        named = [f"`{one.name}` (line {one.line})" for one in types]
        yield Finding(6.5, f"Offers {len(types)} types: {listed(named, 10)}.")
        return
    parts = [_offered(facts, one) for one in types[:4]]
    functions = [one for one in offered if one.kind in ("function", "prototype", "macro")]
    parts += [f"`{one.name}()` (line {one.line})" for one in functions[: max(1, 6 - len(parts))]]
    rest = len(types) + len(functions) - len(parts)
    if parts:
        more = f", and {rest} more" if rest > 0 else ""
        yield Finding(6.5, f"Offers {'; '.join(parts)}{more}.")
    elif facts.is_code and facts.callables and not facts.is_test:
        yield Finding(
            4, f"Offers no public name; its {counted(len(facts.callables), 'function')} serve the file itself."
        )


def _offered(facts: Facts, owner: Symbol) -> str:
    methods = [one.name for one in facts.methods_of(owner) if one.exported and not one.name.startswith("__")]
    inside = f": {listed(methods, 5)}" if methods else ""
    return f"`{owner.name}` ({span(owner)}{inside})"


def reading_order(facts: Facts) -> Iterator[Finding]:
    """Where the weight of the file lies."""
    entry = _ENTRY.search(facts.structure.code)
    if entry and facts.is_code:
        line = facts.structure.code.count("\n", 0, entry.start()) + 1
        yield Finding(6, f"Can be run on its own: execution starts at line {line}.")
    heavy = sorted(facts.callables, key=lambda one: (-one.branches, -one.lines, one.line))[:3]
    heavy = [one for one in heavy if one.branches >= 3]
    total = sum(one.branches for one in facts.callables)
    if heavy and total >= 10 and not facts.is_test:
        named = [f"`{one.qualified_name}` ({span(one)}, {counted(one.branches, 'branch')})" for one in heavy]
        share = sum(one.branches for one in heavy) / total
        yield Finding(5.5, f"Most of the logic is in {listed(named)}: {share:.0%} of all decisions of the file.")


def hard_to_follow(facts: Facts) -> Iterator[Finding]:
    """Functions that are longer or more branched than people can keep in mind."""
    for one in sorted(facts.callables, key=lambda one: (-one.branches, -one.lines, one.line))[:2]:
        if one.branches >= MANY_BRANCHES:
            yield Finding(
                7.5,
                f"`{one.qualified_name}` ({span(one)}) takes {one.branches} decisions; {MANY_BRANCHES} is a lot.",
            )
    long = sorted((one for one in facts.callables if one.lines > LONG_LINES), key=lambda one: -one.lines)
    if long:
        named = [f"`{one.qualified_name}` ({one.lines} lines from {one.line})" for one in long]
        yield Finding(6.5, f"Longer than {LONG_LINES} lines: {listed(named, 3)}.")
    if facts.lines > LONG_FILE and facts.is_code:
        yield Finding(
            4.5, f"The file has {facts.lines} lines and {len(facts.types)} types: more than one idea lives here."
        )


def easy_to_follow(facts: Facts) -> Iterator[Finding]:
    """Said when there is nothing to say against the shape: the measure, not praise."""
    if len(facts.callables) < 3:
        return
    longest = max(facts.callables, key=lambda one: (one.lines, -one.line))
    deepest = max(facts.callables, key=lambda one: (one.branches, -one.line))
    if longest.lines <= LONG_LINES and deepest.branches < MANY_BRANCHES:
        middle = sorted(one.lines for one in facts.callables)[len(facts.callables) // 2]
        yield Finding(
            3,
            f"{len(facts.callables)} functions, half of them at most {counted(middle, 'line')}; the longest is "
            f"`{longest.qualified_name}` ({counted(longest.lines, 'line')}), "
            f"the most branched `{deepest.qualified_name}` ({counted(deepest.branches, 'branch')}).",
        )


def undocumented(facts: Facts) -> Iterator[Finding]:
    """Public names that nobody explained."""
    outward = [one for one in facts.structure.symbols if one.exported and one.kind not in ("variable", "constant")]
    outward = [one for one in outward if not one.name.startswith("__")]
    bare = [one for one in outward if not one.doc]
    if facts.is_test or not facts.is_code or not outward or facts.structure.reader == "text":
        return
    if bare and len(outward) >= 3:
        share = f"{len(bare)} of {counted(len(outward), 'public name')}"
        largest = sorted(bare, key=lambda one: (-one.lines, one.line))
        places = quoted([f"{one.qualified_name}:{one.line}" for one in largest], 4)
        verb = "has" if len(bare) == 1 else "have"
        yield Finding(3 + 3 * len(bare) / len(outward), f"{share} {verb} no documentation: {places}.")


def error_paths(facts: Facts) -> Iterator[Finding]:
    """Which errors come out of it, and how often."""
    hits = ("".join(groups) for groups in _RAISED.findall(facts.structure.code))
    # A name in small letters is a variable or a helper, and says nothing to a caller.
    raised = Counter(hit for hit in hits if hit.rpartition(".")[2][:1].isupper())
    if raised and not facts.is_test:
        named = [f"`{name}`" + (f" ({count} places)" if count > 1 else "") for name, count in raised.most_common()]
        yield Finding(5, f"Raises {listed(named, 5)}.")
    sentinels = [one for one in facts.exported if one.kind == "variable" and re.match(r"Err[A-Z]", one.name)]
    if sentinels and facts.language.name == "Go":
        named = [f"`{one.name}` (line {one.line})" for one in sentinels]
        yield Finding(5, f"Errors that callers can tell apart: {listed(named, 6)}.")


def wide_lines(facts: Facts) -> Iterator[Finding]:
    """Lines that do not fit on a screen."""
    if not facts.is_code:
        return
    wide = [number for number, line in enumerate(facts.text.split("\n"), start=1) if len(line) > WIDE]
    if wide:
        yield Finding(2.5, f"{counted(len(wide), 'line')} wider than {WIDE} characters: {at_lines(wide)}.")


def sections(facts: Facts) -> Iterator[Finding]:
    """The parts of a document or of a configuration."""
    if facts.is_code and facts.language.kind is Kind.CODE:
        return
    parts = [one for one in facts.structure.symbols if one.kind != "title"]
    if not parts:
        return
    noun = parts[0].kind
    yield Finding(6, f"{counted(len(parts), noun)}: {listed([f'{one.name} (line {one.line})' for one in parts], 8)}.")
    longest = max(parts, key=lambda one: (one.lines, -one.line))
    if len(parts) > 2 and longest.lines > facts.lines / 3:
        yield Finding(
            4, f"The {noun} `{longest.name}` holds {longest.lines / facts.lines:.0%} of the lines ({span(longest)})."
        )


def shared_state(facts: Facts) -> Iterator[Finding]:
    """Variables of the whole module: state that every thread and every test shares."""
    if facts.language.name not in ("Python", "Go", "Rust", "C"):
        return
    names = {one.name for one in facts.structure.symbols if one.kind == "variable" and not one.parent}
    code = facts.structure.code
    lines = [code.count("\n", 0, hit.start()) + 1 for hit in _CONTAINER.finditer(code) if hit[1] in names][:20]
    if lines:
        yield Finding(5.5, f"Mutable state at module level ({at_lines(lines)}): shared by all threads and all tests.")


def bare_text(facts: Facts) -> Iterator[Finding]:
    """The last resort, for files that say nothing else."""
    words = len(facts.text.split())
    longest = max((len(line) for line in facts.text.split("\n")), default=0)
    size = f"{counted(facts.lines, 'line')}, {counted(words, 'word')}"
    yield Finding(0.5, f"{size}; the longest line has {counted(longest, 'character')}.")
