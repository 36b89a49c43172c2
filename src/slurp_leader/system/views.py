"""Parts of the system's face that are grouped under a name: ``system.leader`` and ``system.jobs``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from slurp_leader.election import LeaderInfo, Transferred, Wish
from slurp_leader.election.changes import WAITING_LIMIT, LeaderChanges
from slurp_leader.election.observer import Observer, Sighting
from slurp_leader.errors import LifecycleError
from slurp_leader.jobs.client import JobClient, JobHandle
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.reports import JobReport
from slurp_leader.jobs.result import ContextGenerationResult
from slurp_leader.jobs.submitter import CancelAnswer


class LeaderView:
    """``system.leader``: who leads, seen from anywhere.

    Args:
        observer: The observer of the election; opens its watch when first asked for.
        look: Asks etcd who leads, linearizably, within so many seconds.
        wish: Makes what asks for a handover; None: here nobody may.
    """

    def __init__(
        self,
        observer: Callable[[], Observer],
        look: Callable[[float], Sighting],
        wish: Callable[[], Wish] | None = None,
    ) -> None:
        self._observer = observer
        self._look = look
        self._wish = wish

    def __repr__(self) -> str:
        return "<LeaderView: get, sighting, wait, observe, transfer>"

    def get(self, timeout: float = 5.0, *, fresh: bool = False) -> LeaderInfo | None:
        """Who leads, as last heard; None when nobody does, or when etcd did not say within `timeout` seconds.

        The first question opens a watch; the others are answered from memory. The answer says for which revision of
        etcd it is known to hold (`as_of`), and how long ago etcd was last heard (`age_s`, seconds).

        Args:
            timeout: Seconds.
            fresh: Ask etcd, linearizably, instead of answering from memory.

        Raises:
            StoreError: `fresh`, and etcd did not answer in time, or refused.
            LifecycleError: Not started.
        """
        seen = self.sighting(timeout, fresh=fresh)
        return seen.leader if seen else None

    def sighting(self, timeout: float = 5.0, *, fresh: bool = False) -> Sighting | None:
        """What `get` tells, and the same two figures where nobody leads. None when etcd did not say in time.

        Raises:
            StoreError, LifecycleError: As `get` does.
        """
        if fresh:
            return self._look(timeout)
        observer = self._observer()
        observer.wait_until_known(timeout)
        return observer.sighting

    def wait(self, timeout: float | None = None) -> LeaderInfo:
        """Wait until anybody leads.

        Raises:
            NoLeaderError: Nobody did within `timeout` seconds, or before the end.
            LifecycleError: Not started.
        """
        return self._observer().wait_for_leader(timeout)

    def observe(self, limit: int = WAITING_LIMIT) -> LeaderChanges:
        """Every change of leader from now on, vacancies too, in order and without loss, beginning with how things
        stand: ``for change in ...``, which blocks between them, or ``async for change in ...``, which does not.

        It ends at the end of what was started, or when etcd refuses it for good. After a time without etcd it goes on
        where it was. If etcd has compacted that away, the terms in between are read from what it still has; where there
        is nothing any more, `missed` of the next change counts them, or is None when nobody can.

        Args:
            limit: So many changes wait for a slow consumer, then the oldest are dropped, and `missed` of the next one
                says how many.

        Raises:
            LifecycleError: Not started.
        """
        return self._observer().observe(limit)

    def watch(self) -> LeaderChanges:
        """The older name of `observe`."""
        return self.observe()

    def transfer(
        self, to: str | None = None, *, why: str = "", dry_run: bool = False, timeout: float = 30.0
    ) -> Transferred:
        """Have the lead handed over to another node, without a moment in which nobody leads. From any process.

        Jobs in flight are not interrupted: the old leader ends them, while the new one claims what comes next.

        Args:
            to: Node id of the successor; None: the best candidate.
            why: For people; it stands in etcd while the handover is under way.
            dry_run: Only tell who would be asked first. Nothing is written.
            timeout: Seconds to wait until the successor has proved its term.

        Raises:
            NoLeaderError: Nobody leads.
            HandoverError: It was not handed over; `reason` says why, `outcome` whether it still may be.
            StoreError: etcd did not answer. Nothing was handed over.
            LifecycleError: This is a mere observer, or nothing was started.
        """
        if self._wish is None:
            raise LifecycleError("an observer changes nothing: transfer from a node, or with `slurp leader transfer`")
        return self._wish().transfer(to, why, timeout, dry_run=dry_run)


class JobsView:
    """``system.jobs``: jobs of any process."""

    def __init__(self, client: Callable[[], JobClient]) -> None:
        self._client = client

    def __repr__(self) -> str:
        return "<JobsView: get, report, list, cancel>"

    def get(self, job_id: str) -> JobHandle[ContextGenerationResult]:
        """A handle for a job, from its id."""
        return self._client().handle(job_id)

    def report(self, job_id: str) -> JobReport:
        """All that is known about a job.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
        """
        return self._client().report(job_id)

    def list(self, status: JobStatus | str | Iterable[JobStatus | str] = (), limit: int = 100) -> list[JobReport]:
        """Jobs, newest first; of all statuses when none are given.

        Raises:
            ValueError: Not a status.
        """
        wanted = [status] if isinstance(status, str) else list(status)
        return self._client().list([JobStatus(each) for each in wanted], limit)

    def cancel(self, job_id: str, reason: str = "") -> CancelAnswer:
        """Ask for a job to end.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
        """
        return self._client().cancel(job_id, reason)


def describe_leader(info: LeaderInfo | None) -> dict[str, Any] | None:
    """A leader as plain data."""
    if info is None:
        return None
    record = info.record
    return {
        "node_id": info.node_id,
        "token": info.token,
        "epoch": record.epoch if record else None,
        "endpoint": record.endpoint if record else None,
        "session": record.session if record else None,
        "readable": record is not None,
    }
