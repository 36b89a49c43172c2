"""The operator's side of etcd. Travels the way of every other request: deadline, login, check of the cluster, errors.

What is for one member is sent to that one and to no other.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from slurp_leader.errors import Outcome, RequestMalformedError, StoreError
from slurp_leader.etcd.calls import Calls
from slurp_leader.etcd.maintenance_requests import (
    AskStatus,
    Compact,
    Defragment,
    Disarm,
    ListAlarms,
    ListLeases,
    ListMembers,
)
from slurp_leader.etcd.members import Member, Members
from slurp_leader.store.maintenance import Alarm, MemberInfo, MemberStatus, SurveyResult
from slurp_leader.store.requests import Request


class EtcdMaintenance:
    """Fulfils `slurp_leader.store.maintenance.Maintenance`. Threads: safe.

    With users switched on in etcd, a defragmentation needs one with the role root.

    Args:
        calls: How requests travel.
        members: Who can be asked.
    """

    def __init__(self, calls: Calls, members: Members) -> None:
        self._calls = calls
        self._members = {member.endpoint: member for member in members}

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(self._members)

    def status(self, endpoint: str, timeout_s: float) -> Future[MemberStatus]:
        return self._ask(AskStatus(endpoint), timeout_s, endpoint)

    def members(self, timeout_s: float) -> Future[tuple[MemberInfo, ...]]:
        return self._ask(ListMembers(), timeout_s)

    def leases(self, timeout_s: float) -> Future[int]:
        return self._ask(ListLeases(), timeout_s)

    def alarms(self, timeout_s: float) -> Future[tuple[Alarm, ...]]:
        return self._ask(ListAlarms(), timeout_s)

    def disarm(self, alarm: Alarm, timeout_s: float) -> Future[None]:
        return self._ask(Disarm(alarm), timeout_s)

    def compact(self, revision: int, timeout_s: float) -> Future[None]:
        return self._ask(Compact(revision), timeout_s)

    def defragment(self, endpoint: str, timeout_s: float) -> Future[None]:
        return self._ask(Defragment(), timeout_s, endpoint)

    def survey(self, timeout_s: float) -> Future[SurveyResult]:
        """Ask all of them at once; see `slurp_leader.store.maintenance.Survey`."""
        gathering = _Gathering(len(self._members))
        for number, endpoint in enumerate(self._members):
            asked = self.status(endpoint, timeout_s)
            asked.add_done_callback(lambda done, number=number: gathering.take(number, done))  # type: ignore[misc]
        return gathering.result

    def _ask(self, request: Request[Any], timeout_s: float, endpoint: str | None = None) -> Future[Any]:
        only: Member | None = None
        if endpoint is not None and (only := self._members.get(endpoint)) is None:
            refused: Future[Any] = Future()
            message = f"{endpoint} is no endpoint of this connection: {', '.join(self._members)}"
            refused.set_exception(RequestMalformedError(message, outcome=Outcome.NOT_APPLIED))
            return refused
        return self._calls.start(request, timeout_s, only)


class _Gathering:
    """The answers of several members, until the last one is there."""

    def __init__(self, expected: int) -> None:
        self.result: Future[SurveyResult] = Future()
        self._lock = threading.Lock()  # guards all below
        self._expected = self._missing = expected
        self._answers: dict[int, MemberStatus] = {}
        self._error: BaseException = StoreError("no member was asked")

    def take(self, number: int, done: Future[MemberStatus]) -> None:
        error = done.exception()
        with self._lock:
            self._missing -= 1
            if error is None:
                self._answers[number] = done.result()
            else:
                self._error = error
            if self._missing:
                return
        if self._answers:
            members = tuple(self._answers[each] for each in sorted(self._answers))
            self.result.set_result(SurveyResult(members, self._expected - len(members)))
        else:
            self.result.set_exception(self._error)
