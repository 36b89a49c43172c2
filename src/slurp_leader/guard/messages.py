"""What program and guard say to each other: one JSON object in each packet of a Unix socket.

Packets (``SOCK_SEQPACKET``) arrive whole, so several processes may speak over one inherited socket. Each packet carries
the pid of who speaks. Secrets travel here and nowhere else: not in arguments, not in the environment.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

LARGEST_PACKET = 192 * 1024
"""Bytes; a route with three certificates takes some ten thousand."""


@dataclass(frozen=True, slots=True)
class Route:
    """How the guard reaches etcd. Plain data, made from `EtcdOptions` by `slurp_leader.etcd.route`.

    Attributes:
        targets: ``host:port`` of each member.
        settings: Channel arguments of gRPC, as pairs.
        tls: Whether to encrypt; the texts that follow are PEM, None where there is none.
    """

    targets: tuple[str, ...]
    settings: tuple[tuple[str, int | str], ...] = ()
    tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Route({', '.join(self.targets)})"  # the rest holds secrets


@dataclass(frozen=True, slots=True)
class Hello:
    """A program begins to speak."""

    pid: int
    route: Route


@dataclass(frozen=True, slots=True)
class Hold:
    """Revoke this lease when I die. Said before the lease is granted (PROTOCOL A12).

    Attributes:
        ttl_s: How long revoking it is worth trying.
        stall_s: Longest silence between two beats; 0: silence means nothing.
    """

    pid: int
    lease_id: int
    ttl_s: float
    stall_s: float


@dataclass(frozen=True, slots=True)
class Beat:
    """The loop that owns this lease moves."""

    pid: int
    lease_id: int


@dataclass(frozen=True, slots=True)
class Drop:
    """This lease is none of yours any more."""

    pid: int
    lease_id: int


@dataclass(frozen=True, slots=True)
class Group:
    """Kill this process group when I die, before any lease is revoked. 0: none any more."""

    pid: int
    group: int


@dataclass(frozen=True, slots=True)
class Bye:
    """I end as I should: nothing of mine is to be revoked."""

    pid: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The guard: etcd can be reached, or `problem` says why it could not so far."""

    problem: str = ""


Message = Hello | Hold | Beat | Drop | Group | Bye | Ready

_KINDS: dict[str, type[Any]] = {kind.__name__.lower(): kind for kind in (Hello, Hold, Beat, Drop, Group, Bye, Ready)}


def encode(message: Message) -> bytes:
    return json.dumps({"is": type(message).__name__.lower(), **asdict(message)}, separators=(",", ":")).encode()


def decode(packet: bytes) -> Message:
    """Read a packet.

    Raises:
        ValueError: Not a message.
    """
    fields = json.loads(packet)
    if not isinstance(fields, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for all that is no message
    kind = _KINDS.get(str(fields.pop("is", "")))
    if kind is None:
        raise ValueError("unknown kind")
    try:
        if kind is Hello:
            route = fields["route"]
            settings = tuple((str(name), value) for name, value in route.pop("settings", ()))
            fields["route"] = Route(targets=tuple(route.pop("targets")), settings=settings, **route)
        message: Message = kind(**fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{kind.__name__}: {error!r}") from None
    return message
