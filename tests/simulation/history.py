"""What was done and said in one simulation, beside the store's own log of changes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from support.virtual import World


@dataclass(slots=True)
class Request:
    """One wish of a submitter. `number` is in the payload, so that its job is known under whatever id it got."""

    number: int
    submitter: str
    sent_at: float
    key: str | None
    body: str
    answered_at: float | None = None
    job_id: str = ""
    created: bool = False
    revision: int = 0
    error: Exception | None = None
    replaces: bool = False
    """Its job is to take the place of an earlier one with its key."""

    @property
    def accepted(self) -> bool:
        return self.answered_at is not None and self.error is None


@dataclass(frozen=True, slots=True)
class BodyStart:
    """User code of a job began. `held`: whether the store's leader key was its term's at that moment."""

    at: float
    node: str
    job_id: str
    run: int
    attempt: int
    token: int
    fencing_token: int
    trusted: bool
    held: bool
    incarnation: int
    """Revision of the queue record."""
    restored: bytes | None = None
    """The checkpoint that it was given."""


@dataclass(slots=True)
class History:
    """Everything that the checker looks at."""

    world: World
    requests: dict[int, Request] = field(default_factory=dict)
    bodies: list[BodyStart] = field(default_factory=list)
    outcomes_seen: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """What a submitter saw by watch, by submitter and job id."""
    cancels: dict[str, str] = field(default_factory=dict)
    """Job ids that somebody wanted to end, and what the answer was."""
    state_changes: list[tuple[float, str, str, str, int]] = field(default_factory=list)
    holder: int = 0
    """The token in force in the store right now; 0: nobody leads."""
    grants: set[int] = field(default_factory=set)
    """Tokens of handed over terms whose grants stand right now."""
    forced: set[int] = field(default_factory=set)
    """Tokens of terms that an operator ended by force: their leaders cannot know at once."""
    broken_at_once: list[str] = field(default_factory=list)
    """What was seen to be wrong while it happened."""
    periodic_claims: set[str] = field(default_factory=set)
    """Claims of periodic work whose runs were begun."""
    periodic_begun_at: float | None = None
    """When the newest of them was."""
    peace_at: float = 0.0
    settled_at: float | None = None
    """When, in peace, a leader was there and every accepted job had ended."""
    led_at: float | None = None
    """When, in peace, somebody led for the first time."""
    believers_at_end: list[int] = field(default_factory=list)

    def note_leader(self, now: float) -> None:
        if self.peace_at and self.led_at is None:
            self.led_at = now

    def digest(self) -> str:
        """Equal for equal histories."""
        hashed = hashlib.blake2b(digest_size=16)
        for write in self.world.log:
            hashed.update(repr((round(write.at, 9), write.revision, write.author, write.events)).encode())
        parts: list[Any] = [self.bodies, self.state_changes, sorted(self.world.counts.items())]
        parts += [sorted(self.cancels.items()), self.settled_at, self.led_at]
        parts += [
            (r.number, r.job_id, r.created, r.answered_at, type(r.error).__name__) for r in self.requests.values()
        ]
        hashed.update(repr(parts).encode())
        return hashed.hexdigest()
