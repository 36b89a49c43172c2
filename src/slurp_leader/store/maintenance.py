"""What an operator asks of a store, and what a leader has to know of its space: a port beside `Store`.

A machine asks for the space with a request like any other, `Survey`. The rest moves no data of anybody: compaction,
defragmentation and clearing an alarm give room back. None of it is done by the library on its own.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from slurp_leader.store.requests import Header, Request

DEFAULT_QUOTA_BYTES = 2 * 1024**3
"""Size at which etcd refuses writes when it was given no other."""


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """How one member is. Sizes in bytes.

    Attributes:
        header: `Header.member_id` is the member itself, `Header.revision` how far it is.
        endpoint: Where it was asked.
        db_size: Of its file. This is what the quota is compared with; only a defragmentation makes it smaller.
        db_size_in_use: Of that, without free pages: what is kept, with its history up to the last compaction.
        quota_bytes: At which size it refuses writes; 0: it does not say, as before etcd 3.6.
        leader_member_id: The member that it takes for the leader of the cluster; 0: none, there is no quorum.
        raft_index: How far its log is.
        is_learner: It follows without a vote.
        alarms: Such as ``("NOSPACE",)``, of the whole cluster.
    """

    header: Header
    endpoint: str
    version: str
    db_size: int
    db_size_in_use: int
    quota_bytes: int
    leader_member_id: int
    raft_index: int
    is_learner: bool
    alarms: tuple[str, ...]

    @property
    def leads(self) -> bool:
        """Whether it leads the cluster."""
        return self.leader_member_id != 0 and self.leader_member_id == self.header.member_id


@dataclass(frozen=True, slots=True)
class SurveyResult:
    """The members that answered, in the order of the endpoints, at least one; and how many did not."""

    members: tuple[MemberStatus, ...]
    silent: int = 0


@dataclass(frozen=True, slots=True)
class Survey(Request[SurveyResult]):
    """Ask every member that has an endpoint how it is. Fails only when none answers."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm, and the member that raised it. It stops the whole cluster until it is cleared for that member."""

    name: str
    member_id: int


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A member as the cluster lists it. `name` is empty while it has never been up."""

    member_id: int
    name: str
    client_urls: tuple[str, ...]


class Maintenance(Protocol):
    """The operator's side of a store. Safe to use from any thread; nothing blocks.

    Every future fails with a `StoreError` at its deadline at the latest. Of one that changes something, `outcome` says
    whether it may have been done; doing it once more harms nothing.
    """

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where members are asked."""
        ...

    def status(self, endpoint: str, timeout_s: float) -> Future[MemberStatus]:
        """Ask this member how it is. It answers for itself, also when it is cut off from the others."""
        ...

    def members(self, timeout_s: float) -> Future[tuple[MemberInfo, ...]]:
        """All members of the cluster, also those that no endpoint names."""
        ...

    def leases(self, timeout_s: float) -> Future[int]:
        """How many leases there are, everybody's."""
        ...

    def alarms(self, timeout_s: float) -> Future[tuple[Alarm, ...]]:
        """The alarms that are on."""
        ...

    def disarm(self, alarm: Alarm, timeout_s: float) -> Future[None]:
        """Clear one alarm. NOSPACE comes back with the next write when there is still no room."""
        ...

    def compact(self, revision: int, timeout_s: float) -> Future[None]:
        """Forget what was overwritten or deleted before `revision`, for everybody who uses this store. Returns when the
        pages are free; the file keeps its size.

        Raises:
            RevisionCompactedError: That was done before.
        """
        ...

    def defragment(self, endpoint: str, timeout_s: float) -> Future[None]:
        """Give the free pages of this member back to its disk. It answers nobody meanwhile."""
        ...


@runtime_checkable
class HasMaintenance(Protocol):
    """A store that has an operator's side."""

    @property
    def maintenance(self) -> Maintenance:
        """Its operator's side. Closed with the store."""
        ...


__all__ = [
    "DEFAULT_QUOTA_BYTES",
    "Alarm",
    "HasMaintenance",
    "Maintenance",
    "MemberInfo",
    "MemberStatus",
    "Survey",
    "SurveyResult",
]
