"""A fence in front of an ASGI application: FastAPI, Starlette, Litestar, Django, or a bare function."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from hashlib import sha256
from typing import Any, NamedTuple

from slurp_leader.errors import StaleTokenError
from slurp_leader.fencing.gate import LONGEST_RESOURCE, FenceGate, check_resource
from slurp_leader.fencing.headers import RESOURCE_HEADER, TOKEN_HEADER, read_resource, read_token

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SCOPE_KEY = "slurp.fence"
WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Fenced(NamedTuple):
    """What a request was let through with; the application finds it in ``scope["slurp.fence"]``."""

    token: int
    resource: str


class _Refusal(Exception):  # noqa: N818 - an answer, not a fault
    def __init__(self, status: int, error: str, message: str, **facts: object) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": error, "message": message, **facts}


class FenceMiddleware:
    """Refuses requests of a leader that is none any more, before the application sees them.

    ::

        app.add_middleware(FenceMiddleware, gate=MemoryFence())     # FastAPI, Starlette
        app = FenceMiddleware(app, MemoryFence())                   # any other

    ====  ==============================================================================================
    409   the token is stale; the body names the newest: ``{"error": "stale_token", "newest": 9, ...}``
    428   there is no token, and `require` is set
    400   the token or the resource is malformed, or stands there twice
    ====  ==============================================================================================

    All else goes through: other methods, requests without a token where `require` is off, WebSockets, lifespan.
    The application finds the token and the resource in ``scope["slurp.fence"]`` (`Fenced`).

    It stops what *arrives* late. A request of the old leader that was let through may still be under way while one of
    the new leader is answered. Where that matters, let the application fence again, with the token from the scope and a
    `SqlFence` in the transaction of its write. It keeps honest clients in order, and is no access control: any client
    can send any token.

    Args:
        app: What is behind it.
        gate: What decides. It is called on the event loop, so it must not wait for anything: `MemoryFence`, one for all
            that write the same resources. With several server processes each has its own, and a late request may meet
            one that has not seen the newer token: fence in the database then. None: nothing is refused as stale here,
            the token is only read, checked for form and handed on.
        resource: Names the resource of a request without a ``Slurp-Resource`` header; None: its path, as it stands. A
            path of more than 255 characters goes by its hash, ``sha256:...``: cut, it would be another path's name too.
        require: Whether a request without a token is refused.
        methods: Which requests are fenced.
    """

    def __init__(
        self,
        app: Application,
        gate: FenceGate | None = None,
        *,
        resource: Callable[[Scope], str] | None = None,
        require: bool = True,
        methods: Iterable[str] = WRITING,
    ) -> None:
        self._app = app
        self._gate = gate
        self._resource = resource or _path_of
        self._require = require
        self._methods = frozenset(method.upper() for method in methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "http" and scope["method"].upper() in self._methods:
            try:
                fenced = self._fence(scope)
            except _Refusal as refusal:
                await _answer(send, refusal)
                return
            if fenced is not None:
                scope = {**scope, SCOPE_KEY: fenced}
        await self._app(scope, receive, send)

    def _fence(self, scope: Scope) -> Fenced | None:
        """What the request may go on with; None: with nothing."""
        try:
            fenced = self._read(scope)
        except ValueError as error:
            raise _Refusal(400, "malformed_token", str(error)) from None
        if fenced is None:
            if self._require:
                raise _Refusal(428, "token_required", f"send the token of the leader as {TOKEN_HEADER}")
            return None
        if self._gate is not None:
            try:
                self._gate.admit(*fenced)
            except StaleTokenError as error:
                facts = {"resource": error.resource, "token": error.token, "newest": error.newest}
                raise _Refusal(409, "stale_token", str(error), **facts) from None
        return fenced

    def _read(self, scope: Scope) -> Fenced | None:
        text = _header(scope, TOKEN_HEADER)
        if text is None:
            return None
        token = read_token(text)
        named = _header(scope, RESOURCE_HEADER)
        return Fenced(token, check_resource(self._resource(scope)) if named is None else read_resource(named))


def _path_of(scope: Scope) -> str:
    path: str = scope["path"]
    if len(path) <= LONGEST_RESOURCE:
        return path
    return "sha256:" + sha256(path.encode("utf-8", "surrogatepass")).hexdigest()  # no path: those begin with a slash


def _header(scope: Scope, name: str) -> str | None:
    """The value of a header; None: there is none.

    Raises:
        ValueError: It stands there twice. Whoever merged two requests, neither value can be trusted.
    """
    wanted = name.lower().encode("ascii")
    values = [value for key, value in scope["headers"] if key.lower() == wanted]
    if len(values) > 1:
        raise ValueError(f"{name} stands there {len(values)} times")
    return values[0].decode("latin-1") if values else None


async def _answer(send: Send, refusal: _Refusal) -> None:
    body = json.dumps(refusal.body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
