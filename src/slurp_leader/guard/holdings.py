"""What the guard holds, for whom, and when it revokes. Pure: no process, no socket, no clock.

Time is counted in the guard's own wake-ups (`tick`), not read from a clock: when program and guard are frozen together
(``docker pause``, suspend), no wake-ups pass, and that is no stall (PROTOCOL A11).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from slurp_leader.guard.messages import Beat, Bye, Drop, Group, Hello, Hold, Message, Route

TICK_S = 0.1


@dataclass(slots=True)
class _Held:
    ttl_s: float
    stall_ticks: float
    silent_ticks: int = 0


@dataclass(slots=True)
class _Client:
    route: Route
    leases: dict[int, _Held] = field(default_factory=dict)
    group: int = 0
    given_back: set[int] = field(default_factory=set)
    """For its silence. What may be revoked at any moment is never held again."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """A lease to be revoked, and for how long to try."""

    lease_id: int
    ttl_s: float
    route: Route
    reason: str


@dataclass(frozen=True, slots=True)
class Kill:
    """A process group that has to end before the leases of its owner are given back."""

    group: int


class Holdings:
    """Who holds what."""

    def __init__(self) -> None:
        self._clients: dict[int, _Client] = {}
        self._has_had_clients = False

    @property
    def clients(self) -> tuple[int, ...]:
        """The programs that are guarded."""
        return tuple(self._clients)

    def holds(self, who: int, lease_id: int) -> bool:
        """Whether this lease is held, and not being given back."""
        return who in self._clients and lease_id in self._clients[who].leases

    @property
    def is_over(self) -> bool:
        """Whether there were programs and none is left."""
        return self._has_had_clients and not self._clients

    @property
    def leases(self) -> tuple[int, ...]:
        return tuple(lease for client in self._clients.values() for lease in client.leases)

    def take(self, message: Message) -> None:
        """Take what a program says. What a stranger says, or what is about an unknown lease, changes nothing."""
        match message:
            case Hello(who, route):
                self._has_had_clients = True
                self._clients.setdefault(who, _Client(route))
            case Hold(who, lease_id, ttl_s, stall_s) if who in self._clients:
                stall_ticks = math.ceil(stall_s / TICK_S) if stall_s > 0 else math.inf
                if lease_id not in self._clients[who].given_back:
                    self._clients[who].leases[lease_id] = _Held(ttl_s, stall_ticks)
            case Beat(who, lease_id):
                if self.holds(who, lease_id):
                    self._clients[who].leases[lease_id].silent_ticks = 0
            case Drop(who, lease_id) if who in self._clients:
                self._clients[who].leases.pop(lease_id, None)
            case Group(who, group) if who in self._clients:
                self._clients[who].group = group
            case Bye(who):
                self._clients.pop(who, None)
            case _:
                pass

    def tick(self) -> list[Kill | Revocation]:
        """A wake-up has passed, and all that was said before it has been taken. Returns what to do about those who were
        silent too long: what they started has to end as well, as it would run on without them."""
        revoked: list[Kill | Revocation] = []
        for client in self._clients.values():
            for lease_id, held in list(client.leases.items()):
                held.silent_ticks += 1
                if held.silent_ticks > held.stall_ticks:
                    del client.leases[lease_id]
                    client.given_back.add(lease_id)
                    revoked += _kills(client)
                    revoked.append(Revocation(lease_id, held.ttl_s, client.route, "stalled"))
        return revoked

    def died(self, who: int) -> list[Kill | Revocation]:
        """A program is dead: first what it started has to end, then its leases go."""
        client = self._clients.pop(who, None)
        if client is None:
            return []
        return _kills(client) + [
            Revocation(lease_id, held.ttl_s, client.route, "died") for lease_id, held in client.leases.items()
        ]


def _kills(client: _Client) -> list[Kill | Revocation]:
    """Its group, once."""
    group, client.group = client.group, 0
    return [Kill(group)] if group > 1 else []
