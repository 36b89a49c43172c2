"""What a doctor says: one sentence each, and how bad it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing is wrong."""
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about etcd. `fixable`: ``--fix`` puts it right."""

    what: str
    severity: Severity
    message: str
    fix: str = ""
    fixable: bool = False

    @property
    def is_wrong(self) -> bool:
        return self.severity in (Severity.WARNING, Severity.ERROR)
