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
    def pids(self) -> tuple[int, ...]:
        """Of the programs that are guarded."""
        return tuple(self._clients)

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
            case Hello(pid, route):
                self._has_had_clients = True
                known = self._clients.get(pid)
                self._clients[pid] = _Client(route, known.leases if known else {}, known.group if known else 0)
            case Hold(pid, lease_id, ttl_s, stall_s) if pid in self._clients:
                stall_ticks = math.ceil(stall_s / TICK_S) if stall_s > 0 else math.inf
                self._clients[pid].leases[lease_id] = _Held(ttl_s, stall_ticks)
            case Beat(pid, lease_id):
                client = self._clients.get(pid)
                if client is not None and lease_id in client.leases:
                    client.leases[lease_id].silent_ticks = 0
            case Drop(pid, lease_id) if pid in self._clients:
                self._clients[pid].leases.pop(lease_id, None)
            case Group(pid, group) if pid in self._clients:
                self._clients[pid].group = group
            case Bye(pid):
                self._clients.pop(pid, None)
            case _:
                pass

    def tick(self) -> list[Revocation]:
        """A wake-up has passed, and all that was said before it has been taken. Returns what was silent too long."""
        revoked = []
        for client in self._clients.values():
            for lease_id, held in list(client.leases.items()):
                held.silent_ticks += 1
                if held.silent_ticks > held.stall_ticks:
                    del client.leases[lease_id]
                    revoked.append(Revocation(lease_id, held.ttl_s, client.route, "stalled"))
        return revoked

    def died(self, pid: int) -> list[Kill | Revocation]:
        """A program is dead: first what it started has to end, then its leases go."""
        client = self._clients.pop(pid, None)
        if client is None:
            return []
        kills: list[Kill | Revocation] = [Kill(client.group)] if client.group > 1 else []
        return kills + [
            Revocation(lease_id, held.ttl_s, client.route, "died") for lease_id, held in client.leases.items()
        ]
