"""How log entries look, for the command line: lines for people, or one JSON object a line.

A service that imports the library configures `logging` as it likes and may use the formatters here, or none. Nothing
happens on import, and the root logger is never touched.

Values come from requests, files and other machines. Whatever they hold, an entry cannot be made to look like two, and
cannot steer a terminal: control characters are written as escapes.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, Literal

from slurp_leader.clock import format_utc
from slurp_leader.errors import ConfigurationError
from slurp_leader.telemetry.events import has_value

LIBRARY_LOGGER = "slurp_leader"

# Besides the C0 and C1 controls: the two Unicode line ends, the marks that reorder what stands around them, and lone
# surrogates, which no file can hold.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NEEDS_QUOTES = re.compile(r'[\s"=]')
_DEEPEST = 8


class ConsoleFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO    slurp_leader.election election.state node=a state=leader``.

    Facts without a value are left out: ``token=None`` looks like a fault. `JsonFormatter` has all of them.

    Args:
        node_id: Written into every line; empty: not written.
    """

    def __init__(self, node_id: str = "") -> None:
        super().__init__()
        self._node = f" node={_console_value(node_id)}" if node_id else ""

    def format(self, record: logging.LogRecord) -> str:
        facts = {name: value for name, value in _fields(record).items() if has_value(value)}
        fields = "".join(f" {printable(name)}={_console_value(value)}" for name, value in facts.items())
        head = f"{_date(record)} {record.levelname:<7} {record.name} {printable(_event(record))}{self._node}{fields}"
        # Indented, so that no line of an exception's message can pass for an entry.
        return "\n".join([head, *(f"    {printable(line)}" for line in _exception(record).split("\n") if line)])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts level logger event``, and where there are any ``node_id fields exception``.

    Args:
        node_id: Written into every entry; empty: not written.
    """

    def __init__(self, node_id: str = "") -> None:
        super().__init__()
        self._node_id = node_id

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "ts": _date(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
            "node_id": self._node_id,
            "fields": _plain(_fields(record)),
            "exception": _exception(record),
        }
        return json.dumps({name: value for name, value in entry.items() if value})


def configure_logging(
    *,
    level: str = "info",
    format: Literal["console", "json"] = "console",
    file: Path | None = None,
    node_id: str = "",
) -> Callable[[], None]:
    """Write the library's log entries. For programs; a library must not call this.

    Only the logger ``slurp_leader`` is changed. Its entries no longer reach the handlers of the root logger, so that
    none is written twice.

    Args:
        level: Least level written: debug, info, warning, error or critical.
        format: ``console`` or ``json``.
        file: File to append to; it may be moved away at any time. None: standard error.
        node_id: Written into every entry.

    Returns:
        A function that puts everything back as it was.

    Raises:
        ConfigurationError: The file cannot be opened. Nothing was changed.
    """
    handler = _open(file)
    handler.setFormatter(JsonFormatter(node_id) if format == "json" else ConsoleFormatter(node_id))
    logger = logging.getLogger(LIBRARY_LOGGER)
    before = (logger.handlers[:], logger.level, logger.propagate)
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False

    def undo() -> None:
        logger.handlers[:], logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
        handler.close()

    return undo


def _open(file: Path | None) -> logging.Handler:
    if file is None:
        return logging.StreamHandler(sys.stderr)
    try:
        # Of the handlers that end a file, only this one lets several processes share it without losing lines.
        return WatchedFileHandler(file, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"logs.file = {str(file)!r}: cannot be opened: {error.strerror}; name a file that can be written",
            field="logs.file",
        ) from error


def _date(record: logging.LogRecord) -> str:
    return format_utc(datetime.fromtimestamp(record.created, UTC))


def _event(record: logging.LogRecord) -> str:
    """The name of the event; of entries of others, their message."""
    return str(getattr(record, "slurp_event", "")) or record.getMessage()


def _fields(record: logging.LogRecord) -> dict[Any, Any]:
    """The facts that `log_event` put on the record; none on entries of others."""
    fields = getattr(record, "slurp", None)
    return fields if isinstance(fields, dict) else {}


def _exception(record: logging.LogRecord) -> str:
    return logging.Formatter().formatException(record.exc_info) if record.exc_info else ""


def _console_value(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if not text or _NEEDS_QUOTES.search(text):
        text = json.dumps(text, ensure_ascii=False)
    return printable(text)


def printable(value: Any) -> str:
    """A value as text that cannot steer a terminal or break a line: control characters are written as escapes."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), str(value))


def _plain(value: Any, depth: int = 0) -> Any:
    """`value` as JSON has it; what JSON has not becomes text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or type(value) in {str, int, float, bool}:
        return value
    if depth < _DEEPEST and isinstance(value, dict):
        return {str(name): _plain(item, depth + 1) for name, item in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return str(value)
