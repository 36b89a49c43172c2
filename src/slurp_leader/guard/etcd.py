"""Revoking leases, over gRPC alone.

Three small messages are written here by hand, because the generated ones take 20 MB and a tenth of a second to load;
a test compares them with those. Everything is asynchronous: the loop of the guard never waits for etcd.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc

from slurp_leader.guard.messages import STARTING, Route

_CALL_S = 2.0
_WARM_TICKS = 600
"""A minute: a simple token of etcd dies after five without use."""
_TROUBLE_TICKS = 50
"""Pause between two calls to members of which none answers: the recovery is to be told soon."""
_LOGIN_TICKS = 10
"""Pause between two logins that fail."""
_ANY_KEY = b"\0"


# ---------------------------------------------------------------- messages


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _text(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def revoke_request(lease_id: int) -> bytes:
    """``LeaseRevokeRequest{ID = 1}``."""
    return b"\x08" + _varint(lease_id & (1 << 64) - 1)


def authenticate_request(username: str, password: str) -> bytes:
    """``AuthenticateRequest{name = 1, password = 2}``."""
    return _text(1, username.encode()) + _text(2, password.encode())


def read_request() -> bytes:
    """``RangeRequest{key = 1, serializable = 7, count_only = 9}``: the cheapest call that keeps a token alive."""
    return _text(1, _ANY_KEY) + b"\x38\x01\x48\x01"


def token_in(response: bytes) -> str:
    """The token of an ``AuthenticateResponse{header = 1, token = 2}``; empty when there is none."""
    at = 0
    while at < len(response):
        tag, at = _read_varint(response, at)
        length, at = _read_varint(response, at)
        if tag == 2 << 3 | 2:
            return response[at : at + length].decode("ascii", "replace")
        at += length
    return ""


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return number, at


# ---------------------------------------------------------------- connection


class _Member:
    def __init__(self, target: str, route: Route) -> None:
        settings = list(route.settings)
        if route.tls:
            pems = [text.encode() if text else None for text in (route.ca, route.key, route.cert)]
            channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(*pems), options=settings)
        else:
            channel = grpc.insecure_channel(target, options=settings)
        self.channel = channel
        self.problem = STARTING
        """Why the last call to it did not work; empty when it did."""
        self.revoke = channel.unary_unary("/etcdserverpb.Lease/LeaseRevoke")
        self.authenticate = channel.unary_unary("/etcdserverpb.Auth/Authenticate")
        self.read = channel.unary_unary("/etcdserverpb.KV/Range")


class Connection:
    """Connections to all members of one etcd, kept open and logged in.

    Args:
        route: Where it is.
        arrived: Called, on a thread of gRPC, when an answer waits for `take_answers`.
    """

    def __init__(self, route: Route, arrived: Callable[[], None]) -> None:
        self._route = route
        self._arrived = arrived
        self._members = [_Member(target, route) for target in route.targets]
        self._token = ""
        self._logging_in = False
        self._logins = -1
        self._answers: deque[Callable[[], None]] = deque()
        self._ticks = 0
        self._login_problem = ""
        self._keep_warm()

    @property
    def problem(self) -> str:
        """Why nothing could be revoked at present; empty: a member answers, and one is enough, as each is tried."""
        problems = [self._login_problem or member.problem for member in self._members]
        if "" in problems:
            return ""
        return STARTING if STARTING in problems else problems[0]

    def tick(self) -> None:
        """A tenth of a second has passed."""
        self._ticks += 1
        if self._ticks % (_TROUBLE_TICKS if self.problem else _WARM_TICKS) == 0:
            self._keep_warm()
        elif self._route.username and not self._token and self._ticks % _LOGIN_TICKS == 0:
            self._log_in()

    def take_answers(self) -> None:
        """Take what has arrived. On the guard's thread."""
        while self._answers:
            self._answers.popleft()()

    def revoke(self, lease_id: int, member: int, then: Callable[[bool], None]) -> None:
        """Ask one member to revoke a lease; `then` is told whether it is gone for certain."""

        def answered(code: Any, details: str, _: bytes) -> None:
            gone = code in (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND)
            chosen.problem = "" if gone else f"{code.name}: {details}"
            then(gone)

        chosen = self._members[member % len(self._members)]
        self._call(chosen.revoke, revoke_request(lease_id), answered, authenticated=True)

    def _keep_warm(self) -> None:
        if self._route.username and not self._token:
            self._log_in()
            return
        for member in self._members:
            self._call(member.read, read_request(), partial(self._warmed, member), authenticated=True)

    @staticmethod
    def _warmed(member: _Member, code: Any, details: str, _: bytes) -> None:
        # Refused for its rights is answered too; a token that is void was noticed in `_answered`.
        answered = code in (grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED)
        member.problem = "" if answered else f"{code.name}: {details}"

    def _log_in(self) -> None:
        """Fetch a token, each time from another member."""
        if self._logging_in:
            return
        self._logging_in = True
        self._logins += 1

        def answered(code: Any, details: str, response: bytes) -> None:
            self._logging_in = False
            if code is grpc.StatusCode.OK:
                self._token = token_in(response)
                self._login_problem = ""
                self._keep_warm()
            else:
                self._login_problem = f"login: {code.name}: {details}"

        request = authenticate_request(self._route.username or "", self._route.password or "")
        self._call(self._members[self._logins % len(self._members)].authenticate, request, answered)

    def _call(
        self, method: Any, request: bytes, then: Callable[[Any, str, bytes], None], *, authenticated: bool = False
    ) -> None:
        metadata = (("token", self._token),) if authenticated and self._token else ()
        call = method.future(request, timeout=_CALL_S, metadata=metadata)

        def done(finished: Any) -> None:
            code, details = finished.code(), finished.details() or ""
            response = finished.result() if code is grpc.StatusCode.OK else b""
            self._answers.append(lambda: self._answered(code, details, response, then))
            self._arrived()

        call.add_done_callback(done)

    def _answered(self, code: Any, details: str, response: bytes, then: Callable[[Any, str, bytes], None]) -> None:
        if "auth token" in details or "revision of auth store" in details or "user name is empty" in details:
            self._token = ""
            if self._route.username:
                self._log_in()
        then(code, details, response)
