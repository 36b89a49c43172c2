"""What a run has taken, as a value: `slurp_leader.jobs.executors.measuring` measures it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MOST = 2**62
"""Neither a time nor a size: what is forged must not break what counts with it."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a run has taken.

    Attributes:
        cpu_s: Seconds of processor time; None: not known.
        memory: The most bytes of memory at one time; None: not known.
    """

    cpu_s: float | None = None
    memory: int | None = None

    def to_fields(self) -> dict[str, Any]:
        """As plain data, without what is not known."""
        fields: dict[str, Any] = {}
        if self.cpu_s is not None:
            fields["cpu_s"] = round(self.cpu_s, 6)
        if self.memory is not None:
            fields["memory"] = self.memory
        return fields

    @classmethod
    def from_fields(cls, fields: object) -> Use | None:
        """As read. None: nothing that makes sense; what a run took is worth no parked record."""
        if not isinstance(fields, dict):
            return None
        cpu_s, memory = fields.get("cpu_s"), fields.get("memory")
        use = cls(
            float(cpu_s) if isinstance(cpu_s, int | float) and 0 <= cpu_s < _MOST else None,
            memory if type(memory) is int and 0 <= memory < _MOST else None,
        )
        return None if use == cls() else use
