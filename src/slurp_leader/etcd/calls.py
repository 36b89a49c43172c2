"""One request's way to etcd and back: send, fail over, log in again, check who answered, resolve the future.

Nothing here waits. Each step is a callback of the step before it: gRPC's answer, or the end of a login. ::

    send -> sent to the member in use -> answered -> checked -> resolved
              ^      |                                 |
              |      |          |         +- revision below one seen before: have it confirmed
              |      |          +- token refused: log in, once, and send it again
              +------+- a read that got no answer: the next member
"""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.errors import (
    LifecycleError,
    Outcome,
    RequestMalformedError,
    StoreChangedError,
    StoreClosedError,
    StoreError,
    StoreTimeoutError,
)
from slurp_leader.etcd.errors import is_token_refused, should_change_member, translate
from slurp_leader.etcd.grpc_runtime import grpc
from slurp_leader.etcd.identity import ClusterIdentity
from slurp_leader.etcd.kinds import Kind, asks_one_member, changes_nothing, is_linearizable, request_kinds
from slurp_leader.etcd.login import Login
from slurp_leader.etcd.members import Member, Members
from slurp_leader.etcd.outage import Outage
from slurp_leader.store.requests import Get, Request

REQUIRE_LEADER = ("hasleader", "true")
"""Metadata that makes a member without a leader say so at once; without it, it waits for one until the deadline."""

_ANY_KEY = Get(b"\x00", limit=1, keys_only=True)
"""The cheapest linearizable read."""


class _Call:
    """One request under way. Its steps follow each other, so nothing here needs a lock but the end (`Calls._take`)."""

    __slots__ = (
        "checks_age",
        "deadline",
        "floor",
        "future",
        "kind",
        "logged_in",
        "message",
        "only",
        "reads",
        "request",
        "rpc",
        "token",
        "tries_left",
    )

    def __init__(self, request: Request[Any], kind: Kind, deadline: float, tries: int) -> None:
        self.request = request
        self.kind = kind
        self.deadline = deadline
        self.reads = changes_nothing(request)
        self.checks_age = is_linearizable(request)
        self.tries_left = tries if self.reads else 1
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # what was sent cannot be taken back
        self.message: Any = None
        self.only: Member | None = None  # whom it is for; None: any member
        self.rpc: Any = None  # the gRPC call at present
        self.token: str | None = None  # the token it was sent with
        self.logged_in = False  # whether a new login was tried for it
        self.floor = 0  # the highest revision seen when it was sent

    @property
    def unknown_outcome(self) -> Outcome:
        """The outcome when it cannot be known: reads have no effect."""
        return Outcome.NOT_APPLIED if self.reads else Outcome.UNKNOWN


class Calls:
    """All requests under way. Threads: safe.

    Args:
        members: Whom to ask.
        login: How to get a token; None: nobody asks for one.
        identity: Who answered so far.
        outage: Told when nobody answers.
        rpc: etcd's messages.
        clock: Where time comes from.
    """

    def __init__(
        self, members: Members, login: Login | None, identity: ClusterIdentity, outage: Outage, rpc: Any, clock: Clock
    ) -> None:
        self._members = members
        self._login = login
        self._identity = identity
        self._outage = outage
        self._clock = clock
        self._kinds = request_kinds(rpc)
        # Whoever takes a call out of here resolves it: an answer, a deadline and a close may come at once. Single
        # operations on a set are atomic.
        self._under_way: set[_Call] = set()
        self._closed = False
        self._pid = os.getpid()

    def start(self, request: Request[Any], timeout_s: float, only: Member | None = None) -> Future[Any]:
        """Send one request; see `slurp_leader.store.port.Store.call`. `only`: to this member and no other.

        Raises:
            LifecycleError: This process was forked off the one that made the store.
        """
        self.refuse_fork()
        call = self._new_call(request, self._clock.boottime() + timeout_s)
        if only is not None:
            call.only, call.tries_left = only, 1
        try:
            call.message = call.kind.encode(request)
            self._identity.check()
            if self._closed:
                raise StoreClosedError("the store is closed", outcome=Outcome.NOT_APPLIED)
        except StoreError as error:
            self._fail(call, error)
        except (TypeError, ValueError, KeyError) as error:
            self._fail(call, RequestMalformedError(f"{type(request).__name__} cannot be encoded: {error}"))
        else:
            self._send(call, only or self._members.in_use())
        return call.future

    def refuse_fork(self) -> None:
        """Raise where nothing would ever be answered.

        Raises:
            LifecycleError: This process was forked off the one that made the store.
        """
        if os.getpid() != self._pid:
            raise LifecycleError(
                "this store was made by the parent of this process, and its connections do not work after a fork: "
                "use it in the parent only, or make one in a new process ('spawn' or 'forkserver', not 'fork')"
            )

    def close(self) -> None:
        """Fail all that is under way, and all that is asked later. Safe twice."""
        self._closed = True
        for call in self._under_way.copy():
            error = StoreClosedError("the store was closed before an answer came", outcome=call.unknown_outcome)
            self._fail(call, error)
            if call.rpc is not None:
                call.rpc.cancel()

    # ------------------------------------------------------------ out

    def _new_call(self, request: Request[Any], deadline: float) -> _Call:
        call = _Call(request, self._kinds[type(request)], deadline, len(self._members))
        self._under_way.add(call)
        return call

    def _send(self, call: _Call, member: Member) -> None:
        if call not in self._under_way:
            return  # the store was closed during a login
        login = self._login
        if login is not None and login.token is None:
            self._log_in_and_send(call)
            return
        call.token = login.token if login is not None else None
        remaining_s = call.deadline - self._clock.boottime()
        if remaining_s <= 0:
            # A write gets here only unsent, or refused for its token: it is sent once.
            self._fail(call, StoreTimeoutError("the deadline passed before it was sent", outcome=Outcome.NOT_APPLIED))
            return
        call.floor = self._identity.revision
        metadata = [] if asks_one_member(call.request) else [REQUIRE_LEADER]
        if call.token:
            metadata.append(("token", call.token))
        # Each member gets its share of the time, so that a silent one cannot eat it all.
        timeout_s = remaining_s / max(1, call.tries_left)
        try:
            method = member.methods[type(call.request)]
            call.rpc = method.future(call.message, timeout=timeout_s, metadata=metadata)
        except ValueError as error:  # gRPC: the channel was closed under us
            self._fail(call, StoreClosedError(f"the connection is closed: {error}", outcome=Outcome.NOT_APPLIED))
            return
        call.rpc.add_done_callback(lambda rpc: self._answered(call, member, rpc))

    def _log_in_and_send(self, call: _Call) -> None:
        assert self._login is not None

        def go_on(error: StoreError | None) -> None:
            if error is None:
                self._send(call, call.only or self._members.in_use())  # the login may have found another one silent
                return
            if error.retryable:
                self._outage.failed(error)
            self._fail(call, error)

        self._login.renew(call.token, call.deadline, go_on)

    # ------------------------------------------------------------ and back, on a thread of gRPC

    def _answered(self, call: _Call, member: Member, rpc: Any) -> None:
        try:
            if rpc.code() is grpc.StatusCode.OK:
                self._accept(call, member, rpc.result())
            else:
                self._refused(call, member, rpc.code(), rpc.details())
        except Exception as error:  # whatever is wrong with us, whoever waits must hear of it
            failure = StoreError(f"the answer could not be handled: {error!r}", outcome=call.unknown_outcome)
            failure.__cause__ = error
            self._fail(call, failure)

    def _refused(self, call: _Call, member: Member, code: grpc.StatusCode, details: str | None) -> None:
        if call not in self._under_way:
            return  # cancelled by `close`, which says nothing of etcd
        if self._login is not None and not call.logged_in and is_token_refused(details):
            call.logged_in = True
            self._log_in_and_send(call)
            return
        error = translate(code, details, writes=not call.reads, endpoint=member.endpoint)
        if call.only is not None or not should_change_member(code):
            self._fail(call, error)  # that one member is silent says nothing of the others
            return
        self._members.leave(member)
        call.tries_left -= 1
        if call.tries_left > 0 and call.deadline > self._clock.boottime():
            self._send(call, self._members.after(member))
            return
        self._outage.failed(error)
        self._fail(call, error)

    def _accept(self, call: _Call, member: Member, message: Any) -> None:
        self._outage.answered()
        try:
            if message.HasField("header"):  # a defragmentation is answered without
                self._identity.observe(message.header)
        except StoreChangedError as error:
            error.outcome = call.unknown_outcome
            self._fail(call, error)
            return
        if call.checks_age and message.header.revision < call.floor:
            self._ask_again(call, member, message)
        else:
            self._resolve(call, call.kind.decode(call.request, message))

    # ------------------------------------------------------------ an answer that shows a lower revision (A10)

    def _ask_again(self, call: _Call, member: Member, message: Any) -> None:
        """Have it confirmed by another member, or the same when it is the only one. For a write a read stands in."""
        question = call.request if call.reads else _ANY_KEY
        second = self._new_call(question, call.deadline)
        second.checks_age = False
        second.message = self._kinds[type(question)].encode(question)
        second.future.add_done_callback(lambda future: self._confirmed(call, message, future))
        self._send(second, self._members.after(member))

    def _confirmed(self, call: _Call, message: Any, second: Future[Any]) -> None:
        error = second.exception()
        if isinstance(error, StoreError):
            error.outcome = call.unknown_outcome
            self._fail(call, error)
        elif second.result().header.revision < call.floor:
            error = self._identity.went_back(second.result().header.revision, call.floor)
            error.outcome = call.unknown_outcome
            self._fail(call, error)
        else:
            self._resolve(call, second.result() if call.reads else call.kind.decode(call.request, message))

    # ------------------------------------------------------------ the end of a call

    def _resolve(self, call: _Call, result: Any) -> None:
        if self._take(call):
            call.future.set_result(result)

    def _fail(self, call: _Call, error: StoreError) -> None:
        if self._take(call):
            call.future.set_exception(error)

    def _take(self, call: _Call) -> bool:
        try:
            self._under_way.remove(call)
        except KeyError:
            return False
        return True
