"""What comes back: a context node, inside the result that tells how it came about.

A `ContextNode` says only what is true of the file: same file, role and commit, same node. When, where and under
which token it was made stands in the `ContextGenerationResult` around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_serializer

from slurp_leader.clock import format_utc
from slurp_leader.errors import RecordError

_NODE_KIND = "context_node"
_NODE_SCHEMA = 1


class _Value(BaseModel):
    """A frozen value that reads what a newer version wrote, leaving out names it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON under stable names."""
        return self.model_dump(mode="json")

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            RecordError: Not an object, or a field is missing or of the wrong type.
        """
        try:
            return cls.model_validate(wire)
        except ValidationError as error:
            finding = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in finding["loc"]) or "value"
            raise RecordError(f"not a {cls.__name__}: {where}: {finding['msg']}") from None


class Symbol(_Value):
    """Something with a name that a file defines.

    Attributes:
        kind: class, function, method, struct, interface, enum, type, trait, module, macro, constant, variable; and for
            files that are no programs heading, section, key, target, stage, table ...
        line, end_line: First and last line, counted from 1.
        parent: The name of what it is defined in, empty at the top level.
        exported: Meant for use from outside, by the rules or habits of the language.
        doc: The first sentence of its docstring or comment; empty when there is none.
        branches: Decision points inside (if, loop, case, catch, and/or); a measure of how hard it is to follow.
    """

    name: str
    kind: str
    line: int
    end_line: int
    parent: str = ""
    exported: bool = True
    doc: str = ""
    branches: int = 0

    @property
    def lines(self) -> int:
        """How many lines it spans."""
        return self.end_line - self.line + 1

    @property
    def qualified_name(self) -> str:
        """The name with what it is defined in: ``Class.method``."""
        return f"{self.parent}.{self.name}" if self.parent else self.name


class Commit(_Value):
    """One commit that changed the file."""

    id: str
    author: str
    date: str
    subject: str
    added: int = 0
    deleted: int = 0


class Author(_Value):
    """Somebody who changed the file, and how often."""

    name: str
    commits: int


class History(_Value):
    """What git knows about the file.

    Attributes:
        commit: The newest commit that changed the file.
        commits: The newest ones, newest first.
        authors: Of the commits looked at, most active first.
        total: How many commits were looked at.
        truncated: There are more; all figures cover only those looked at.
        added, deleted: Lines, summed over the commits looked at.
        modified: The file differs from its state in the repository's HEAD.
    """

    commit: str
    commits: tuple[Commit, ...] = ()
    authors: tuple[Author, ...] = ()
    total: int = 0
    truncated: bool = False
    added: int = 0
    deleted: int = 0
    modified: bool = False


class Evidence(_Value):
    """One reason to trust the node.

    Attributes:
        source: What was looked at: parser, documentation, imports, manifest, history, path ...
        weight: What it adds to the confidence, 0 to 1.
        note: What was found there, for people.
    """

    source: str
    weight: float = Field(ge=0, le=1)
    note: str


class ContextNode(_Value):
    """What is known about one file, for one role.

    Attributes:
        path: The file, relative to the workspace root.
        role: For whom the insights were chosen.
        ucxl_address: Canonical form.
        ucxl_raw: The address as the caller wrote it; empty when it was derived.
        summary: What it is.
        purpose: Why it exists.
        technologies, tags: Sorted, without doubles.
        insights: Findings for the role, the most telling first.
        language: Name of the language, or ``text``.
        size: Bytes.
        lines: Lines of text.
        sha256: Of the content, in hex.
        symbols: In the order of the file.
        related: Files nearby that were followed (see `ContextGenerationRequest.max_depth`), nearest first.
        history: None where git knows nothing about the file.
        confidence: 0 to 1; the sum of the weights in `evidence`.
        specificity: Segments of `path`: in a cascade the more specific node wins.
        overrides_parent, applies_to_children: How a cascade treats it. For generators that describe folders.
        metadata: The request's, as it was given.
    """

    path: str
    role: str = "general"
    ucxl_address: str
    ucxl_raw: str = ""
    summary: str
    purpose: str
    technologies: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    insights: tuple[str, ...] = ()
    language: str = "text"
    size: int = Field(default=0, ge=0)
    lines: int = Field(default=0, ge=0)
    sha256: str = ""
    symbols: tuple[Symbol, ...] = ()
    related: tuple[str, ...] = ()
    history: History | None = None
    confidence: float = Field(default=0.0, ge=0, le=1)
    evidence: tuple[Evidence, ...] = ()
    specificity: int = 0
    overrides_parent: bool = False
    applies_to_children: bool = False
    metadata: dict[str, JsonValue] = Field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON under stable names; ``kind`` and ``schema`` tell what it is to a reader of bare records."""
        return {"kind": _NODE_KIND, "schema": _NODE_SCHEMA, **super().to_wire()}

    @staticmethod
    def is_wire(value: object) -> bool:
        """Whether a JSON value is a node written by `to_wire`, of a schema that this version reads."""
        return isinstance(value, Mapping) and value.get("kind") == _NODE_KIND and value.get("schema") == _NODE_SCHEMA


class ResultError(_Value):
    """Why a request failed: a code for programs, a message for people."""

    code: str
    message: str


class ContextGenerationResult(_Value):
    """The outcome of one request.

    Attributes:
        job_id: The job that carried the request.
        request_id: The caller's own name for it (its idempotency key), else the job id.
        success: `status` is ``completed``.
        status: Of the job: completed, failed or cancelled.
        node: What the generator returned, when that was a context node.
        value: What it returned otherwise: any JSON.
        confidence: The node's; None without one.
        cached: The answer was there already: an earlier job with the same content, role and options had come to it
            (``jobs.cache_bytes``).
        generated_by: Node id of the leader that ran it.
        token, epoch: Of the term it ran under; 0 when it never ran.
        started_at, finished_at: Calendar dates of that leader; None when it never ran.
        duration_s: Seconds of the last run, by that leader's clock.
        error: None on success.
    """

    job_id: str
    request_id: str = ""
    success: bool
    status: str
    node: ContextNode | None = None
    value: JsonValue = None
    confidence: float | None = None
    cached: bool = False
    generated_by: str = ""
    token: int = 0
    epoch: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_s: float = Field(default=0.0, ge=0)
    error: ResultError | None = None

    @classmethod
    def of(cls, output: JsonValue, *, job_id: str, status: str, **facts: Any) -> Self:
        """Put the output of a generator, as it was recorded, into a result.

        Args:
            output: The recorded JSON. A context node is recognised and becomes `node`; the rest becomes `value`.
            job_id: The job.
            status: Of the job.
            facts: Any other field.

        Raises:
            RecordError: The output claims to be a context node and is not.
        """
        node = ContextNode.from_wire(output) if ContextNode.is_wire(output) else None
        return cls(
            job_id=job_id,
            request_id=facts.pop("request_id", "") or job_id,
            success=status == "completed",
            status=status,
            node=node,
            value=None if node else output,
            confidence=node.confidence if node else None,
            **facts,
        )

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON under stable names."""
        return {**super().to_wire(), "node": self.node.to_wire() if self.node else None}

    @field_serializer("started_at", "finished_at", when_used="json-unless-none")
    def _write_date(self, moment: datetime) -> str:
        return format_utc(moment)
