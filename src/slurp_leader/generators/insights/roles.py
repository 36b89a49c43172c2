"""Which findings a role is told, and in which order.

A role brings its own finders and topics, each with a boost: the same fact matters more to one reader than to another.
The weightiest come first, and there are never more than `MOST`, since a list that nobody reads to its end is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from slurp_leader.generators.facts import Facts
from slurp_leader.generators.insights import context, shape
from slurp_leader.generators.insights.finding import Finder, Finding, told
from slurp_leader.generators.signals import Topic, rules_for
from slurp_leader.generators.wording import counted

MOST = 8
_DANGERS_NAMED = "code run from text, shells, unsafe loaders, TLS checks, weak hashes, pasted SQL, secrets"


@dataclass(frozen=True)
class View:
    """What one role is told.

    Attributes:
        finders: Each with what it matters more (or less) than by its own weight.
        topics: The same for topics of signals.
    """

    finders: tuple[tuple[Finder, float], ...]
    topics: tuple[tuple[Topic, float], ...]


def _no_danger(facts: Facts) -> Iterator[Finding]:
    """Silence would read as "not looked": say what was looked for."""
    looked = rules_for(facts.language.name, Topic.DANGER)
    if facts.is_code and not any(facts.about(Topic.DANGER)):
        yield Finding(4, f"None of {counted(looked, 'pattern')} of dangerous code occurs ({_DANGERS_NAMED}).")


def _no_settings(facts: Facts) -> Iterator[Finding]:
    if facts.is_code and not facts.is_test and not any(facts.about(Topic.SETTING, Topic.PROCESS, Topic.WAIT)):
        yield Finding(
            3.5, "Reads no environment variable, opens no port, starts and ends nothing, and waits for nobody."
        )


def _no_unsteadiness(facts: Facts) -> Iterator[Finding]:
    if (
        facts.is_code
        and facts.callables
        and not any(facts.about(Topic.UNSTEADY, Topic.WAIT, Topic.PROCESS, Topic.TRUST))
    ):
        yield Finding(
            4, "Uses no clock, randomness, thread, process or file by itself: tests need no stand-ins for those."
        )


_DEVELOPER = View(
    finders=(
        (context.as_a_manifest, 0),
        (shape.public_face, 1),
        (shape.reading_order, 1),
        (context.built_on, 0.5),
        (context.tests, 0),
        (shape.error_paths, 0),
        (context.people, 0.5),
        (context.foreign_packages, 0),
        (shape.sections, 0),
        (context.as_a_test, 0),
    ),
    topics=((Topic.LEFTOVER, 0), (Topic.SLIP, -1), (Topic.SETTING, -1)),
)
_REVIEWER = View(
    finders=(
        (shape.hard_to_follow, 0.5),
        (shape.easy_to_follow, 0),
        (shape.undocumented, 0.5),
        (context.tests, 1),
        (context.churn, 0.5),
        (shape.wide_lines, 0),
        (shape.sections, -2),
        (context.as_a_test, -1),
        (context.people, -1),
    ),
    topics=(
        (Topic.SLIP, 1.5),
        (Topic.SWALLOW, 1),
        (Topic.LEFTOVER, 0.5),
        (Topic.SILENCED, 1),
        (Topic.CRASH, 0),
        (Topic.DANGER, -2),
    ),
)
_ARCHITECT = View(
    finders=(
        (context.as_a_manifest, 0),
        (context.coupling, 1),
        (context.folders_used, 1),
        (context.surface, 0.5),
        (shape.shared_state, 1),
        (context.project, 1),
        (context.foreign_packages, 0.5),
        (context.churn, 0),
        (shape.public_face, -1.5),
        (shape.sections, 0),
        (context.as_a_test, -2),
    ),
    topics=((Topic.PROCESS, 0), (Topic.TRUST, 0), (Topic.SETTING, -1)),
)
_SECURITY = View(
    finders=(
        (context.as_a_manifest, 0),
        (_no_danger, 0),
        (context.loose_versions, 1),
        (context.foreign_packages, -0.5),
        (context.people, 0),
        (context.tests, -2),
        (shape.sections, -2),
    ),
    topics=((Topic.DANGER, 0), (Topic.TRUST, 1.5), (Topic.SWALLOW, -1), (Topic.SETTING, -1), (Topic.WAIT, -2)),
)
_OPERATIONS = View(
    finders=(
        (context.as_a_manifest, 0),
        (context.logging, 0.5),
        (_no_settings, 0),
        (context.project, 1.5),
        (context.foreign_packages, 0.5),
        (context.loose_versions, -0.5),
        (shape.error_paths, -0.5),
        (context.people, 0),
        (shape.sections, 0),
        (shape.reading_order, -2),
    ),
    topics=(
        (Topic.SETTING, 1.5),
        (Topic.PROCESS, 1.5),
        (Topic.WAIT, 1),
        (Topic.CRASH, 1),
        (Topic.SWALLOW, 0),
        (Topic.TRUST, 0),
    ),
)
_TESTER = View(
    finders=(
        (context.as_a_test, 1),
        (context.tests, 2),
        (context.cases_needed, 1),
        (shape.error_paths, 1),
        (_no_unsteadiness, 0),
        (shape.shared_state, 0),
        (context.churn, 0),
        (shape.sections, -2),
        (shape.public_face, -2.5),
    ),
    topics=(
        (Topic.SKIPPED, 1),
        (Topic.UNSTEADY, 1),
        (Topic.WAIT, 1),
        (Topic.PROCESS, 0),
        (Topic.TRUST, 1),
        (Topic.SWALLOW, -1),
        (Topic.LEFTOVER, -1),
    ),
)
_GENERAL = View(
    finders=(
        (context.as_a_manifest, 0),
        (shape.public_face, 0.5),
        (shape.reading_order, 0),
        (shape.sections, 0.5),
        (context.as_a_test, 0),
        (context.tests, 0),
        (context.coupling, -1),
        (context.people, 0.5),
    ),
    topics=((Topic.DANGER, 0), (Topic.LEFTOVER, -1), (Topic.SETTING, -1), (Topic.PROCESS, -1)),
)

VIEWS = {
    "developer": _DEVELOPER,
    "reviewer": _REVIEWER,
    "architect": _ARCHITECT,
    "security": _SECURITY,
    "operations": _OPERATIONS,
    "tester": _TESTER,
    "general": _GENERAL,
}
_WORDS = {
    "developer": "developer dev engineer programmer coder backend frontend fullstack",
    "reviewer": "reviewer review critic auditor",
    "architect": "architect architecture designer",
    "security": "security sec pentester appsec",
    "operations": "operations ops devops sre operator admin administrator platform infrastructure",
    "tester": "tester test qa quality sdet",
}
_BY_WORD = {word: view for view, words in _WORDS.items() for word in words.split()}


def view_for(role: str) -> str:
    """The view that serves a role: ``senior_software_architect`` sees what an architect sees.

    The last word that says something decides, except that security, operations and testing decide wherever they
    stand (``security_engineer``, ``qa_lead``). A role that says nothing gets the general view.
    """
    known = [_BY_WORD[word] for word in re.split(r"[_-]+", role.lower()) if word in _BY_WORD]
    special = [view for view in known if view in ("security", "operations", "tester")]
    return (special or known or ["general"])[-1]


def insights(facts: Facts, role: str) -> tuple[str, ...]:
    """What a role should know about a file, the weightiest first, at most `MOST`."""
    view = VIEWS[view_for(role)]
    findings = [Finding(found.weight + boost, found.text) for finder, boost in view.finders for found in finder(facts)]
    findings += [told(signal, boost) for topic, boost in view.topics for signal in facts.about(topic)]
    findings = findings or list(shape.bare_text(facts))
    ordered = sorted(findings, key=lambda found: -found.weight)  # stable: equal weights stay in the view's order
    return tuple(dict.fromkeys(found.text for found in ordered))[:MOST]
