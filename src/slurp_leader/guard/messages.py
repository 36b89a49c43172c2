"""What program and guard say to each other: one JSON object in each packet of a Unix socket.

Packets (``SOCK_SEQPACKET``) arrive whole. Each names who speaks by a random number, not by a pid: a process may speak
of two etcds, and in a container its pid is another one than the guard sees. With its first packet a program hands over
a ``pidfd`` of its own, and, to a guard that is its parent, a socket for itself: the inherited one is only the door. A
``pidfd`` comes with `Group`, too.
Secrets travel here and nowhere else: not in arguments, not in the environment.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

LARGEST_PACKET = 192 * 1024
"""Bytes; a route with three certificates takes some ten thousand."""

STARTING = "starting"
"""What a guard has to say of etcd until the first call to it has ended, and what is said of a guard before that."""


class Told(Enum):
    """What became of a word to the guard."""

    YES = "yes"
    """A guard heard it: from now on silence may cost the lease."""
    NOBODY = "nobody"
    """There is no guard at present, so none acts."""
    UNHEARD = "unheard"
    """A guard may act, and it is not known whether it has heard. Nothing may be concluded; say it again soon."""
    GIVEN_BACK = "given back"
    """It was silent for too long: the guard gives this lease back, whatever is said from now on."""


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
    """A program begins to speak. `pid` matters only where there is no ``pidfd``."""

    who: int
    route: Route
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    """Revoke this lease when I die. Said before the lease is granted (PROTOCOL A12).

    Attributes:
        ttl_s: How long revoking it is worth trying.
        stall_s: Longest silence between two beats; 0: silence means nothing.
    """

    who: int
    lease_id: int
    ttl_s: float
    stall_s: float


@dataclass(frozen=True, slots=True)
class Beat:
    """The loop that owns this lease moves.

    Attributes:
        asks: Not 0: answer with `Heard`. So asks who was silent for so long that the lease may be given back by now.
    """

    who: int
    lease_id: int
    asks: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """This lease is none of yours any more."""

    who: int
    lease_id: int


@dataclass(frozen=True, slots=True)
class Group:
    """Kill this process group when I die, before any lease is revoked. 0: none any more. With it comes the ``pidfd`` of
    the group's leader, where there is one.

    Attributes:
        namespace: The PID namespace in which that is its number; 0: not known.
    """

    who: int
    group: int
    namespace: int = 0


@dataclass(frozen=True, slots=True)
class Bye:
    """I end as I should: nothing of mine is to be revoked."""

    who: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The guard: etcd can be reached, or `problem` says why not; `STARTING`: that is not known yet."""

    problem: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """The guard: your question was heard, and the lease is held, or (`holds` is false) is being given back."""

    lease_id: int
    asks: int
    holds: bool


Message = Hello | Hold | Beat | Drop | Group | Bye | Ready | Heard

_KINDS: dict[str, type[Any]] = {
    kind.__name__.lower(): kind for kind in (Hello, Hold, Beat, Drop, Group, Bye, Ready, Heard)
}


def encode(message: Message) -> bytes:
    return json.dumps({"is": type(message).__name__.lower(), **asdict(message)}, separators=(",", ":")).encode()


def decode(packet: bytes) -> Message:
    """Read a packet. What a later version says beyond what is known here is passed over.

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
            if not fields["route"].targets:
                raise ValueError("a route to nowhere")
        known = kind.__dataclass_fields__.keys()
        message: Message = kind(**{name: value for name, value in fields.items() if name in known})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{kind.__name__}: {error!r}") from None
    return message
