"""What is told when the curtain has fallen: the figures, the verdict, and three contexts worth reading."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slurp_leader.demo.checker import Reign, Verdict
from slurp_leader.demo.drama import Kill, successor
from slurp_leader.demo.node import LEASE_TTL_S
from slurp_leader.demo.picture import Picture
from slurp_leader.demo.scene import News
from slurp_leader.errors import RecordError
from slurp_leader.jobs.records import JobKeys, JobOutcome
from slurp_leader.jobs.result import ContextNode
from slurp_leader.store import Event, EventKind
from slurp_leader.store.keyspace import Keyspace

SAMPLES = 3
TTL_NOTE = f"The crash guard gave the lease back; without one nobody leads until it ends (TTL {LEASE_TTL_S} s here)."
INSIGHTS_SHOWN = 3
_CONCRETE = re.compile(r"`|\b[Ll]ines? \d")


@dataclass(frozen=True, slots=True)
class Takeover:
    """One kill and what followed.

    Attributes:
        killed: Node that was killed, `running` jobs on its hands.
        successor: Node that led next; None: nobody did.
        leaderless_ms: From the kill to the leader key of the new term, as it was seen.
        idle_ms: From the kill to the first outcome of the new term.
    """

    killed: str
    running: int
    successor: str | None
    leaderless_ms: float | None
    idle_ms: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a run came to. `problems` is empty when it went as promised."""

    path: str
    etcd: str
    nodes: int
    files: int
    requests: int
    completed: int
    failed: int
    lost: int
    twice: int
    interrupted: int
    leaders: tuple[Reign, ...]
    takeovers: tuple[Takeover, ...]
    jobs_per_s: float
    working_s: float
    problems: tuple[str, ...]
    news: tuple[News, ...]
    samples: tuple[ContextNode, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> str:
        """One document, under stable names. Of each sample, what a person would read."""
        document = asdict(self) | {"ok": self.ok, "samples": [sample_to_wire(node) for node in self.samples]}
        return json.dumps(document, indent=2)


def sample_to_wire(node: ContextNode) -> dict[str, Any]:
    """The telling part of a context, as plain data."""
    return {
        "path": node.path,
        "role": node.role,
        "language": node.language,
        "ucxl_address": node.ucxl_address,
        "summary": node.summary,
        "purpose": node.purpose,
        "technologies": list(node.technologies),
        "tags": list(node.tags),
        "insights": list(node.insights),
        "confidence": node.confidence,
    }


# ---------------------------------------------------------------- from what was seen to figures


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of a run besides the records: `wanted` requests, of which `refusals` were not accepted."""

    path: str
    etcd: str
    nodes: int
    files: int
    wanted: int
    refusals: Sequence[Exception]
    kills: Sequence[Kill]
    news: Sequence[News]
    working_s: float
    """From the first submit to the last outcome."""


def make_report(run: Run, verdict: Verdict, picture: Picture, nodes: Iterable[ContextNode]) -> Report:
    """Put the verdict, the figures and the samples together."""
    return Report(
        path=run.path,
        etcd=run.etcd,
        nodes=run.nodes,
        files=run.files,
        requests=verdict.accepted,
        completed=verdict.completed,
        failed=verdict.failed + verdict.cancelled,
        lost=len(verdict.lost),
        twice=len(verdict.twice),
        interrupted=len(verdict.interrupted),
        leaders=verdict.reigns,
        takeovers=takeovers(run.kills, picture),
        jobs_per_s=round(len(picture.ended) / max(run.working_s, 0.001), 1),
        working_s=round(run.working_s, 2),
        problems=problems_of(verdict, len(run.kills), run.wanted, run.refusals),
        news=tuple(run.news),
        samples=choose_samples(nodes),
    )


def takeovers(kills: Sequence[Kill], picture: Picture) -> tuple[Takeover, ...]:
    """What followed each kill."""
    return tuple(_takeover(kill, picture) for kill in kills)


def _takeover(kill: Kill, picture: Picture) -> Takeover:
    change = successor(kill, picture.changes)
    if change is None or change.leader is None:
        return Takeover(kill.node_id, kill.running, None, None, None)
    first_s = picture.first_outcome_s.get(change.leader.token)
    return Takeover(
        killed=kill.node_id,
        running=kill.running,
        successor=change.leader.node_id,
        leaderless_ms=_milliseconds(change.at_s - kill.at_s),
        idle_ms=None if first_s is None else _milliseconds(first_s - kill.at_s),
    )


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 1)


def problems_of(verdict: Verdict, kills: int, requests: int, refusals: Sequence[Exception]) -> tuple[str, ...]:
    """Why the run is no success; empty when it is one."""
    found = verdict.problems(leaders_wanted=2 if kills else 1)
    if refusals:
        found.append(f"{len(refusals)} of {requests} requests were not accepted, the first one because: {refusals[0]}")
    return tuple(found)


# ---------------------------------------------------------------- samples


def contexts(history: Iterable[Event], keyspace: Keyspace) -> list[ContextNode]:
    """The contexts in a history, in the order in which they were recorded."""
    done, found = JobKeys(keyspace).done, []
    for event in history:
        if event.kind is EventKind.PUT and event.kv.key.startswith(done):
            try:
                result = JobOutcome.from_value(event.kv.key, event.kv.value).result
                if ContextNode.is_wire(result):
                    found.append(ContextNode.from_wire(result))
            except RecordError:
                continue  # the checker reports it
    return found


def choose_samples(nodes: Iterable[ContextNode], count: int = SAMPLES) -> tuple[ContextNode, ...]:
    """The most telling contexts, of different languages and roles where there are any. The same for the same set."""
    left = sorted(nodes, key=lambda node: (-_worth(node), node.path, node.role))
    chosen: list[ContextNode] = []
    while left and len(chosen) < count:
        best = max(left, key=lambda node: (_novelty(node, chosen), _worth(node)))
        chosen.append(best)
        left.remove(best)
    return tuple(chosen)


def _worth(node: ContextNode) -> float:
    """How much there is to read in it: findings that name a place or a thing, and a shape of its own."""
    concrete = sum(1 for insight in node.insights[:INSIGHTS_SHOWN] if _CONCRETE.search(insight))
    shape = min(len(node.symbols), 10) / 10 + (0.5 if node.history else 0.0)
    return concrete + shape + node.confidence


def _novelty(node: ContextNode, chosen: Sequence[ContextNode]) -> int:
    """How much of it is not on stage yet: another file first of all, then another role and another language."""
    fresh_path = all(node.path != other.path for other in chosen)
    fresh_role = all(node.role != other.role for other in chosen)
    fresh_language = all(node.language != other.language for other in chosen)
    is_program = bool(node.symbols)
    return 4 * fresh_path + 2 * fresh_role + (1 if fresh_language and is_program else 0)
