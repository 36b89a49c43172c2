"""The operator's side of a store in memory: one member, whose file is always as small as can be."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from slurp_leader.errors import Outcome, RequestMalformedError, StoreError
from slurp_leader.store.maintenance import Alarm, MemberInfo, MemberStatus, Survey, SurveyResult

R = TypeVar("R")
Send = Callable[[Survey, float], Future[SurveyResult]]

ENDPOINT = "memory"


class MemoryMaintenance:
    """Fulfils `slurp_leader.store.maintenance.Maintenance`. Threads: safe.

    Args:
        send: Sends a request to the store: faults to order meet it too.
        leases: Counts the leases.
        compact: Compacts at a revision.
        disarm: Clears the alarm.
    """

    def __init__(
        self,
        send: Send,
        leases: Callable[[], int],
        compact: Callable[[int], None],
        disarm: Callable[[], None],
    ) -> None:
        self._send = send
        self._leases = leases
        self._compact = compact
        self._disarm = disarm

    @property
    def endpoints(self) -> tuple[str, ...]:
        return (ENDPOINT,)

    def status(self, endpoint: str, timeout_s: float) -> Future[MemberStatus]:
        return self._survey(lambda member: member, timeout_s)

    def members(self, timeout_s: float) -> Future[tuple[MemberInfo, ...]]:
        return self._survey(lambda member: (MemberInfo(member.header.member_id, ENDPOINT, ()),), timeout_s)

    def leases(self, timeout_s: float) -> Future[int]:
        return _done(self._leases)

    def alarms(self, timeout_s: float) -> Future[tuple[Alarm, ...]]:
        return self._survey(_alarms_of, timeout_s)

    def disarm(self, alarm: Alarm, timeout_s: float) -> Future[None]:
        return _done(self._disarm)

    def compact(self, revision: int, timeout_s: float) -> Future[None]:
        return _done(lambda: self._compact(revision))

    def defragment(self, endpoint: str, timeout_s: float) -> Future[None]:
        return _done(lambda: _check(endpoint))

    def _survey(self, read: Callable[[MemberStatus], R], timeout_s: float) -> Future[R]:
        asked, answer = self._send(Survey(), timeout_s), Future[R]()

        def settle(done: Future[SurveyResult]) -> None:
            error = done.exception()
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(read(done.result().members[0]))

        asked.add_done_callback(settle)
        return answer


def _alarms_of(member: MemberStatus) -> tuple[Alarm, ...]:
    return tuple(Alarm(name, member.header.member_id) for name in member.alarms)


def _check(endpoint: str) -> None:
    if endpoint != ENDPOINT:
        raise RequestMalformedError(f"there is no member {endpoint!r}", outcome=Outcome.NOT_APPLIED)


def _done(act: Callable[[], R]) -> Future[R]:
    future: Future[R] = Future()
    try:
        future.set_result(act())
    except StoreError as error:
        future.set_exception(error)
    return future
