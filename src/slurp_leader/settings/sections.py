"""The options of the small parts: generator, logs, telemetry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from slurp_leader.options import Flag, Options, Size

_MIB = 1024 * 1024


def _check_path(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("must be a path: it has a NUL character in it")
    return path


def _refuse_empty(value: Any) -> Any:
    # Path("") is the working directory, which nobody means by an empty text.
    if value == "":
        raise ValueError("must be a path, not an empty text")
    return value


def _read_level(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    level = value.strip().lower()
    return "warning" if level == "warn" else level


FilePath = Annotated[Path, BeforeValidator(_refuse_empty), AfterValidator(_check_path)]
Level = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_read_level)]


class GeneratorOptions(Options):
    """What the built-in generator may read."""

    section: ClassVar[str] = "generator"

    workspace_root: FilePath = Path()
    """Folder whose files contexts are generated for; nothing outside it is ever read. A relative path counts from the
    working directory of the process."""

    max_bytes: Size = Field(default=1 * _MIB, ge=1, le=64 * _MIB)
    """Largest file that is read, 1 B to 64 MiB; larger ones are refused. More: a job takes as much memory, several
    times over while it is parsed."""


class LogsOptions(Options):
    """What the command line writes as log. A service that imports the library configures `logging` itself."""

    section: ClassVar[str] = "logs"

    level: Level = "info"
    """Least level that is written: debug, info, warning, error or critical. Unset: BZZZ_LOG_LEVEL, else info. Debug
    writes several lines a job."""

    format: Literal["console", "json"] = "console"
    """How a line looks: console for people, json (one object a line) for machines."""

    file: FilePath | None = None
    """File to append to instead of standard error. It may be moved away at any time by logrotate."""


class TelemetryOptions(Options):
    """What the command line sends to OpenTelemetry. A service that imports the library hands in its own providers."""

    section: ClassVar[str] = "telemetry"

    exporter: Literal["none", "console", "otlp", "otlp-grpc"] = "none"
    """Where metrics and traces go: none; console (standard error); otlp (HTTP) or otlp-grpc, which need their package
    installed and take endpoint and headers from the standard OTEL_* variables."""

    metrics: Flag = True
    """Whether metrics are exported. They cost a few microseconds a batch."""

    traces: Flag = True
    """Whether traces are exported. They cost some 20 microseconds a job, and the collector's space."""
