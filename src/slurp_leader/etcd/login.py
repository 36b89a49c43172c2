"""Logging in to etcd with user and password, and again when the token ran out.

Tokens die (simple ones after 300 s without use), and become void when users or roles change. Whoever is refused for
that asks here for a new one. All who ask meanwhile wait for one login: a login makes etcd compute a password hash, and
a hundred calls refused at once must not make it compute a hundred.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.errors import Outcome, StoreClosedError, StoreDeniedError, StoreError, StoreTimeoutError
from slurp_leader.etcd.errors import translate
from slurp_leader.etcd.grpc_runtime import grpc
from slurp_leader.etcd.members import Member, Members

Then = Callable[[StoreError | None], None]

_DENIAL_HOLDS_S = 1.0
"""How long refused credentials are not tried again."""

_NOT_ENABLED = "authentication is not enabled"


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    deadline: float
    then: Then


class Login:
    """The token in use, and the thread that fetches a new one. The thread starts with the first who asks.

    Args:
        members: Whom to ask; every one of them in turn, when the one in use does not answer.
        request: The message of the login; None: there is no password, and `token` is all there ever is.
        timeout_s: Longest wait for one member.
        clock: Where time comes from.
        token: One that is there already.
    """

    def __init__(
        self, members: Members, request: Any, timeout_s: float, clock: Clock, *, token: str | None = None
    ) -> None:
        self._members = members
        self._request = request
        self._timeout_s = timeout_s
        self._clock = clock
        self._changed = threading.Condition()  # guards all below
        self._token = token
        self._waiters: list[_Waiter] = []
        self._denied: tuple[float, StoreError] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def token(self) -> str | None:
        """The newest token. None before the first login; empty when etcd wants none."""
        return self._token

    def renew(self, refused: str | None, deadline: float, then: Then) -> None:
        """Get a token other than `refused`.

        Args:
            refused: The token that was refused, None when there was none yet.
            deadline: Boottime at which waiting ends with `StoreTimeoutError`.
            then: Called once: with None when there is a new token, else with what went wrong. On this thread or on that
                of the login; must not block.
        """
        error: StoreError | None = None
        with self._changed:
            if self._closed:
                error = StoreClosedError("the store is closed", outcome=Outcome.NOT_APPLIED)
            elif self._token is not None and self._token != refused:
                error = None  # somebody else has fetched one meanwhile
            elif self._request is None:
                error = StoreDeniedError(
                    "the token of the client handed in ran out, and there is no password to get a new one: "
                    "set etcd.username and etcd.password"
                )
            elif self._denied is not None and self._clock.boottime() < self._denied[0]:
                error = copy.copy(self._denied[1])
            else:
                self._waiters.append(_Waiter(deadline, then))
                self._start_thread()
                self._changed.notify_all()
                return
        then(error)

    def close(self) -> None:
        """Refuse all who wait, and end the thread. Safe twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # ------------------------------------------------------------ the thread

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="slurp-etcd-login", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while self._wait_for_somebody():
            token, error = self._log_in()
            if token is None and error is None:
                continue  # given up; whoever came since then gets a login of its own
            for waiter in self._conclude(token, error):
                waiter.then(copy.copy(error))
        for waiter in self._take_waiters():
            waiter.then(StoreClosedError("the store was closed", outcome=Outcome.NOT_APPLIED))

    def _wait_for_somebody(self) -> bool:
        with self._changed:
            while not self._waiters and not self._closed:
                self._changed.wait()
            return not self._closed

    def _conclude(self, token: str | None, error: StoreError | None) -> list[_Waiter]:
        with self._changed:
            if token is not None:
                self._token = token
            if isinstance(error, StoreDeniedError):
                self._denied = (self._clock.boottime() + _DENIAL_HOLDS_S, error)
            return self._take_waiters()

    def _take_waiters(self) -> list[_Waiter]:
        with self._changed:
            waiters, self._waiters = self._waiters, []
            return waiters

    def _log_in(self) -> tuple[str | None, StoreError | None]:
        """Ask the members in turn, from the one in use on.

        Returns:
            The token, or what the last member said. Neither: nobody waited any more, and it was given up.
        """
        member = self._members.in_use()
        error: StoreError | None = None
        for _ in range(len(self._members)):
            token, error = self._ask(member)
            if token is None and error is None:
                # Silent for as long as anybody had: whoever comes next shall not wait for it in vain as well.
                self._members.leave(member)
                return None, None
            if error is None or not error.retryable:
                return token, error
            self._members.leave(member)
            member = self._members.after(member)
        return None, error

    def _ask(self, member: Member) -> tuple[str | None, StoreError | None]:
        call = member.authenticate.future(self._request, timeout=self._timeout_s)
        call.add_done_callback(lambda done: self._notify())
        try:
            while not call.done():
                if not self._wait_a_while(call):
                    return None, None
        finally:
            call.cancel()
        if call.code() is grpc.StatusCode.OK:
            return call.result().token, None
        if _NOT_ENABLED in (call.details() or ""):
            return "", None  # etcd takes calls of anybody; a login would be refused for ever
        return None, translate(call.code(), call.details(), writes=False, endpoint=member.endpoint)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait_a_while(self, call: Any) -> bool:
        """Wait for the call or a waiter's deadline; refuse those whose time is up. False: none is left."""
        with self._changed:
            first = min((waiter.deadline for waiter in self._waiters), default=math.inf)
            rest_s = first - self._clock.boottime()
            if rest_s > 0 and not call.done() and not self._closed:
                self._changed.wait(min(rest_s, self._timeout_s))
            now = self._clock.boottime()
            late = [waiter for waiter in self._waiters if waiter.deadline <= now]
            self._waiters = [waiter for waiter in self._waiters if waiter.deadline > now]
            goes_on = bool(self._waiters) and not self._closed
        for waiter in late:
            waiter.then(StoreTimeoutError("the deadline passed during the login", outcome=Outcome.NOT_APPLIED))
        return goes_on
