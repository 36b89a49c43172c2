"""What the parts of the elector share: the calls under way, the timers, and the commands of the present step."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from slurp_leader.election.events import Note
from slurp_leader.errors import SlurpLeaderError
from slurp_leader.machine import Calls, Timers
from slurp_leader.store import Request
from slurp_leader.telemetry.events import LogEvent

_SOON_S = 0.2


class Desk:
    """Where the parts of one elector write.

    Attributes:
        out: Commands of the step under way.
    """

    __slots__ = ("_failing", "_rng", "calls", "out", "timers")

    def __init__(self, rng: random.Random) -> None:
        self.calls = Calls()
        self.timers = Timers()
        self.out: list[Any] = []
        self._rng = rng
        self._failing: dict[str, str] = {}  # what fails at present, and with which error

    def call(self, request: Request[Any], timeout_s: float, handler: Callable[[Any, float], None]) -> None:
        self.out.append(self.calls.send(request, timeout_s, handler))

    def say(self, command: Any) -> None:
        self.out.append(command)

    def note(self, level: int, event: LogEvent, **fields: object) -> None:
        self.out.append(Note(level, event, fields))

    def note_failure(self, event: LogEvent, doing: str, error: SlurpLeaderError) -> None:
        """Warn of a call that failed: once, and not again while the same goes on failing in the same way."""
        kind = type(error).__name__
        known, self._failing[doing] = self._failing.get(doing), kind
        self.note(logging.DEBUG if kind == known else logging.WARNING, event, doing=doing, error=str(error), kind=kind)

    def note_success(self, doing: str) -> None:
        self._failing.pop(doing, None)

    def random_hex(self, bits: int) -> str:
        return f"{self._rng.getrandbits(bits):0{bits // 4}x}"

    def random_id(self, bits: int) -> int:
        """A number from 1 on."""
        return self._rng.getrandbits(bits) + 1

    def jittered(self, seconds: float) -> float:
        """About this long: a quarter more or less."""
        return seconds * (0.75 + self._rng.random() / 2)

    def jitter(self) -> float:
        """From 0 to 1, without 1."""
        return self._rng.random()

    def soon(self) -> float:
        """The pause before a renewal that failed is tried again."""
        return self.jittered(_SOON_S)


class Backoff:
    """Growing pauses between tries that fail, so that a store that refuses is not asked as fast as it answers."""

    __slots__ = ("_desk", "_longest_s", "_next_s")

    def __init__(self, desk: Desk, longest_s: float) -> None:
        self._desk = desk
        self._longest_s = longest_s
        self._next_s = _SOON_S

    def next_s(self) -> float:
        pause_s = min(self._next_s, self._longest_s)
        self._next_s = 2 * pause_s
        return self._desk.jittered(pause_s)

    def reset(self) -> None:
        self._next_s = _SOON_S
