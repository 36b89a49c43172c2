"""The options of a new job, and the fields of a request that they come to."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from slurp_leader.cli.exits import UsageError
from slurp_leader.cli.job_conditions import PriorityName
from slurp_leader.clock import SystemClock, parse_utc
from slurp_leader.errors import RequestInvalidError

_LARGEST_METADATA = 8 * 1024 * 1024
"""Bytes of a metadata file that are read at all; requests take far less, and say so."""

_DATE_HELP = "a date with a time zone, such as 2026-01-31T12:00:00Z."
_OPTIONS = {"max_depth": "--max-depth", "max_attempts": "--max-attempts", "timeout": "--run-timeout",
            "role": "--role", "delay": "--delay", "metadata": "--metadata", "ucxl_address": "--address",
            "run_at": "--run-at", "deadline": "--deadline", "queue_timeout": "--queue-timeout",
            "backoff_base": "--backoff-base", "backoff_cap": "--backoff-cap", "on_duplicate": "--on-duplicate",
            "block_timeout": "--block"}  # fmt: skip
"""Field of a request -> what is typed for it."""


class OnDuplicateName(StrEnum):
    """What `slurp_leader.jobs.OnDuplicate` has; here so that the help need not import it. A test compares the two."""

    RETURN_EXISTING = "return_existing"
    RAISE = "raise"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class About:
    """What the job is."""

    role: Annotated[str, typer.Option(help="For whom: developer, reviewer, architect, security ...")] = "general"
    priority: Annotated[PriorityName, typer.Option(metavar="CLASS", help=f"How urgent: {', '.join(PriorityName)}.")] = (
        PriorityName.NORMAL
    )
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Submit once, however often this is repeated. One PATH only.")
    ] = None
    address: Annotated[str | None, typer.Option(metavar="UCXL", help="The file's UCXL address. One PATH only.")] = None
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON", help="A JSON object to carry along; @FILE reads it, @- from stdin.")
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Generate anew, use nothing again.")] = False
    max_depth: Annotated[int, typer.Option(metavar="STEPS", help="How far to look beyond the file, 0 to 8.")] = 2

    @property
    def is_of_one_file(self) -> bool:
        """Whether it says something that no two files can have."""
        return self.idempotency_key is not None or self.address is not None

    def fields(self) -> dict[str, Any]:
        """The fields of a request.

        Raises:
            UsageError: The metadata cannot be read.
        """
        return _given(
            role=self.role,
            priority=self.priority.value,
            idempotency_key=self.idempotency_key,
            ucxl_address=self.address,
            metadata=_read_metadata(self.metadata),
            force=self.force,
            max_depth=self.max_depth,
        )


@dataclass(frozen=True, slots=True)
class Timing:
    """When it runs, for how long, and how often."""

    run_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Longest run of one attempt. (default: jobs.timeout)")
    ] = None
    max_attempts: Annotated[
        int | None, typer.Option(metavar="N", help="Attempts before it fails. (default: jobs.max_attempts)")
    ] = None
    delay: Annotated[float | None, typer.Option(metavar="SECONDS", help="Run it not before this has passed.")] = None
    run_at: Annotated[str | None, typer.Option(metavar="DATE", help=f"Run it not before this date; {_DATE_HELP}")] = (
        None
    )
    deadline: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help=f"From then on nothing of it starts or runs: 2h from now, or {_DATE_HELP}"),
    ] = None
    queue_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Longest wait for its first run; then it fails.")
    ] = None
    backoff_base: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Wait before the second attempt, then doubled. (default: jobs.backoff_base)"
        ),
    ] = None
    backoff_cap: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Longest wait between attempts. (default: jobs.backoff_cap)"),
    ] = None

    def fields(self) -> dict[str, Any]:
        """The fields of a request.

        Raises:
            UsageError: A date makes no sense.
        """
        return _given(
            timeout=self.run_timeout,
            max_attempts=self.max_attempts,
            delay=self.delay,
            run_at=None if self.run_at is None else _date("--run-at", self.run_at),
            deadline=None if self.deadline is None else _moment("--deadline", self.deadline),
            queue_timeout=self.queue_timeout,
            backoff_base=self.backoff_base,
            backoff_cap=self.backoff_cap,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """What happens when it cannot simply enter the queue."""

    on_duplicate: Annotated[
        OnDuplicateName,
        typer.Option(
            metavar="POLICY",
            help="When the idempotency key was used: return_existing (that job), raise (refuse), replace (cancel it).",
        ),
    ] = OnDuplicateName.RETURN_EXISTING
    block: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Wait at most this long when the queue is full.")
    ] = None

    def fields(self) -> dict[str, Any]:
        """The fields of a request."""
        return _given(
            on_duplicate=self.on_duplicate.value,
            on_full=None if self.block is None else "block",
            block_timeout=self.block,
        )


def as_typed(answer: Any) -> Any:
    """A refusal that names the option, not the field behind it."""
    field = getattr(answer, "field", None)
    if not isinstance(answer, RequestInvalidError) or field not in _OPTIONS:
        return answer
    return RequestInvalidError(f"{_OPTIONS[field]}: {str(answer).removeprefix(f'{field}: ')}", field=field)


def _given(**fields: Any) -> dict[str, Any]:
    """Without those that were not given: the library has a default for them."""
    return {name: value for name, value in fields.items() if value is not None}


def _date(option: str, text: str) -> datetime:
    try:
        return parse_utc(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is no date with a time zone; write 2026-01-31T12:00:00Z") from None


def _moment(option: str, text: str) -> datetime:
    """A date, or a time from now."""
    from slurp_leader.options.durations import parse_duration

    try:
        ahead: timedelta = parse_duration(text)
    except ValueError:
        return _date(option, text)
    return SystemClock().utcnow() + ahead


def _read_metadata(given: str | None) -> Any:
    if given is None:
        return None
    text = given if not given.startswith("@") else _read_text(given[1:])
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--metadata: not JSON ({error}); give an object such as '{{\"ticket\": 7}}'") from None


def _read_text(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.read(_LARGEST_METADATA)
        with Path(name).open(encoding="utf-8") as file:
            return file.read(_LARGEST_METADATA)
    except OSError as error:
        raise UsageError(f"--metadata: {name} cannot be read: {error.strerror}; name a file that can") from error
    except UnicodeDecodeError:
        raise UsageError(f"--metadata: {name} is not UTF-8 text") from None
