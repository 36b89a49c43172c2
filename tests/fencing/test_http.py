"""The fence in front of an ASGI application, and the headers that a leader sends."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader import FenceMiddleware, LeadershipLostError, MemoryFence, Term, fence_headers
from slurp_leader.clock import SystemClock
from slurp_leader.fencing.headers import read_resource, read_token

Headers = list[tuple[bytes, bytes]]


@dataclass
class Behind:
    """An application that says what reached it."""

    reached: list[Any] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})


def call(app: Any, headers: Headers, *, method: str = "PUT", path: str = "/ledger", kind: str = "http") -> Any:
    """One request. Returns its status and its document."""
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": kind, "method": method, "path": path, "headers": headers}
    asyncio.run(app(scope, None, send))
    if not said:
        return None
    body = said[1]["body"]
    assert dict(said[0]["headers"]).get(b"content-length", b"0") == b"%d" % len(body)
    return said[0]["status"], json.loads(body) if body else None


def headers(*pairs: tuple[str, str], **sent: str) -> Headers:
    named = [(name.replace("_", "-"), value) for name, value in sent.items()]
    return [(name.encode(), value.encode("latin-1")) for name, value in (*pairs, *named)]


def test_a_stale_token_is_refused_with_the_newest_and_never_reaches_the_application() -> None:
    behind = Behind()
    app = FenceMiddleware(behind, MemoryFence())
    assert call(app, headers(slurp_token="9")) == (204, None)
    status, document = call(app, headers(slurp_token="7"))
    assert status == 409
    assert document == {
        "error": "stale_token",
        "message": "token 7 is stale for '/ledger': the newest seen is 9",
        "resource": "/ledger",
        "token": 7,
        "newest": 9,
    }
    assert len(behind.reached) == 1
    assert call(app, headers(slurp_token="9")) == (204, None)


def test_the_application_finds_what_it_was_let_through_with() -> None:
    behind = Behind()
    call(FenceMiddleware(behind), headers(slurp_token="9", slurp_resource="a%20b"))
    assert behind.reached[0]["slurp.fence"] == (9, "a b")
    assert behind.reached[0]["slurp.fence"].token == 9


def test_tokens_are_kept_for_each_path_or_named_resource_apart() -> None:
    app = FenceMiddleware(Behind(), MemoryFence())
    assert call(app, headers(slurp_token="9"), path="/a")[0] == 204
    assert call(app, headers(slurp_token="7"), path="/b")[0] == 204
    assert call(app, headers(slurp_token="7", slurp_resource="/a"), path="/b")[0] == 409
    assert call(app, headers(slurp_token="7", slurp_resource="job-1"), path="/a")[0] == 204


def test_a_path_too_long_for_a_name_is_fenced_as_a_resource_of_its_own() -> None:
    behind = Behind()
    app = FenceMiddleware(behind, MemoryFence())
    long = "/" + "x" * 300
    assert call(app, headers(slurp_token="9"), path=long + "/a")[0] == 204
    assert call(app, headers(slurp_token="7"), path=long + "/b")[0] == 204
    status, document = call(app, headers(slurp_token="7"), path=long + "/a")
    assert (status, document["error"]) == (409, "stale_token")
    assert behind.reached[0]["slurp.fence"].resource.startswith("sha256:")
    just = "/" + "x" * 254
    call(app, headers(slurp_token="9"), path=just)
    assert behind.reached[-1]["slurp.fence"].resource == just


@pytest.mark.parametrize("named", ["", "x" * 256, None])
def test_a_service_that_names_no_resource_lets_nothing_through(named: Any) -> None:
    behind = Behind()
    app = FenceMiddleware(behind, resource=lambda scope: named)
    assert call(app, headers(slurp_token="9"))[0] == 400
    assert behind.reached == []


def test_a_service_may_name_its_resources_itself() -> None:
    app = FenceMiddleware(Behind(), MemoryFence(), resource=lambda scope: scope["path"].split("/")[1])
    assert call(app, headers(slurp_token="9"), path="/ledger/1")[0] == 204
    assert call(app, headers(slurp_token="7"), path="/ledger/2")[0] == 409


def test_a_write_without_a_token_is_refused_or_let_through_as_the_service_says() -> None:
    strict, lax = Behind(), Behind()
    status, document = call(FenceMiddleware(strict, MemoryFence()), [])
    assert (status, document["error"]) == (428, "token_required")
    assert strict.reached == []
    assert call(FenceMiddleware(lax, MemoryFence(), require=False), [])[0] == 204
    assert "slurp.fence" not in lax.reached[0]


@pytest.mark.parametrize("token", ["", "x", "-1", "+1", "1_0", " 1", "1 ", "1.0", "0", "²", "9" * 19, "1" * 5000])
def test_a_malformed_token_is_refused_also_where_none_is_required(token: str) -> None:
    behind = Behind()
    status, document = call(FenceMiddleware(behind, MemoryFence(), require=False), headers(slurp_token=token))
    assert (status, document["error"]) == (400, "malformed_token")
    assert behind.reached == []


@pytest.mark.parametrize("resource", ["", "%ff", "x" * 256])
def test_a_malformed_resource_is_refused(resource: str) -> None:
    sent = headers(slurp_token="9", slurp_resource=resource)
    assert call(FenceMiddleware(Behind(), MemoryFence()), sent)[0] == 400


@pytest.mark.parametrize("name", ["slurp-token", "slurp-resource"])
def test_a_header_that_stands_there_twice_is_refused(name: str) -> None:
    twice = headers((name, "9"), (name, "9"))
    sent = twice if name == "slurp-token" else [*twice, *headers(slurp_token="9")]
    status, document = call(FenceMiddleware(Behind(), MemoryFence()), sent)
    assert (status, "2 times" in document["message"]) == (400, True)


def test_reads_websockets_and_lifespan_go_through_untouched() -> None:
    behind = Behind()
    app = FenceMiddleware(behind, MemoryFence())
    assert call(app, [], method="GET")[0] == 204
    assert call(app, [], kind="websocket") is None
    assert call(app, [], kind="lifespan") is None
    assert len(behind.reached) == 3
    assert call(FenceMiddleware(behind, MemoryFence(), methods=["get"]), [], method="GET")[0] == 428


def test_a_method_in_small_letters_is_fenced_too() -> None:
    """Servers hand on what they were sent; an application may take ``put`` for PUT."""
    behind = Behind()
    assert call(FenceMiddleware(behind, MemoryFence()), [], method="put")[0] == 428
    assert behind.reached == []


@pytest.mark.parametrize("digits", ["٧", "７"])  # of Arabic and full width: `str.isdigit` and `int` take both
def test_digits_of_another_script_are_no_token(digits: str) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        read_token(digits)


def test_fastapi_answers_as_a_bare_application_does() -> None:
    fastapi = pytest.importorskip("fastapi", reason="fastapi is not installed (dependency group `examples`)")
    app = fastapi.FastAPI()
    app.add_middleware(FenceMiddleware, gate=MemoryFence())

    async def put(request: Any) -> Any:
        return fastapi.responses.JSONResponse({"token": request.scope["slurp.fence"].token})

    app.add_route("/ledger", put, methods=["PUT"])
    assert call(app, headers(slurp_token="9")) == (200, {"token": 9})
    assert call(app, headers(slurp_token="7"))[0] == 409


# ---------------------------------------------------------------- the sender


def term(remaining_s: float) -> Term:
    clock = SystemClock()
    made = Term("reports", 9, 1, "a", "s", "t", b"k", b"v", clock, lost=threading.Event())
    made.trust.until = clock.boottime() + remaining_s
    return made


def test_a_term_sends_its_token() -> None:
    assert fence_headers(term(60)) == {"Slurp-Token": "9"}
    assert fence_headers(term(60), resource="a/ü\r\nX: 1") == {
        "Slurp-Token": "9",
        "Slurp-Resource": "a/%C3%BC%0D%0AX%3A%201",
    }


def test_a_term_that_is_over_sends_nothing() -> None:
    with pytest.raises(LeadershipLostError):
        fence_headers(term(-1))


def test_a_bare_token_is_checked_for_form() -> None:
    assert fence_headers(7) == {"Slurp-Token": "7"}
    with pytest.raises(ValueError, match="a token is"):
        fence_headers(0)
    with pytest.raises(ValueError, match="name of a resource"):
        fence_headers(7, resource="")


@pytest.mark.parametrize("given", ["5", None, 5.0, True, object()])
def test_what_is_neither_a_holder_nor_a_token_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="a token is"):
        fence_headers(given)


@given(st.integers(1, 2**63 - 1), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255))
def test_what_was_sent_is_what_is_read(token: int, resource: str) -> None:
    sent = fence_headers(token, resource=resource)
    assert all(value.isascii() and value.isprintable() for value in sent.values())
    assert read_token(sent["Slurp-Token"]) == token
    assert read_resource(sent["Slurp-Resource"]) == resource
