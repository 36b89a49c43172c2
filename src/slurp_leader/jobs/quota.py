"""How full the store is, and what that asks for: plain functions over what its members tell.

etcd refuses every write once its file has the size of its quota, lease grants and heartbeats too: nobody can be elected
any more (PROTOCOL A8). So jobs give way long before that::

    in use    70 %            85 %                   95 %
    --------------+---------------+----------------------+--------------
                  | outcomes are  | new jobs are         | no job is
                  | pruned early  | refused              | begun either

*In use* is what is kept, with its history since the last compaction. The file may be larger: it never shrinks by
itself, but its free pages are filled first. So a large file means nothing until it is near the quota itself, where
etcd refuses although there are free pages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slurp_leader.options import format_size
from slurp_leader.store.maintenance import DEFAULT_QUOTA_BYTES, MemberStatus

PRUNE_AT = 0.70
"""Share of the quota in use above which outcomes are kept for less than they should be."""

REFUSE_AT = 0.85
"""Share of the quota in use from which on new jobs are refused."""

STAND_AT = 0.95
"""Share of the quota in use from which on no job is begun: its outcome takes space, too."""

FILE_AT = 0.95
"""Share of the quota that the file may have: beyond, a single large write may meet the quota."""

REOPEN_BELOW = 0.05
"""So much below its limit a share has to sink before what it stopped goes on: not so near that it flaps."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What may be used.

    Attributes:
        quota_bytes: Size at which the store refuses writes, for members that do not tell theirs.
    """

    quota_bytes: int = DEFAULT_QUOTA_BYTES


@dataclass(frozen=True, slots=True)
class Fill:
    """How full the fullest member is.

    Attributes:
        in_use: Share of the quota that is in use.
        file: Share of the quota that the file has.
        quota_bytes: The quota.
        alarmed: The store refuses writes already (NOSPACE).
    """

    in_use: float
    file: float
    quota_bytes: int
    alarmed: bool = False

    def __str__(self) -> str:
        quota = format_size(self.quota_bytes)
        if self.alarmed:
            return f"etcd refuses writes (NOSPACE): its file has {self.file:.0%} of its quota of {quota}"
        if self.file >= FILE_AT - REOPEN_BELOW and self.file > self.in_use:
            return f"the file of etcd has {self.file:.0%} of its quota of {quota}, {self.in_use:.0%} are in use"
        return f"etcd uses {self.in_use:.0%} of its quota of {quota}"


@dataclass(frozen=True, slots=True)
class StoreVerdict:
    """What the fill of the store asks for.

    Attributes:
        fill: The fill.
        refuse: No new jobs.
        stand: No job is begun either; those that run go on.
        pressure: How much earlier outcomes are to be pruned: 0 not at all, 1 at `REFUSE_AT`, 2 as much again above it.
    """

    fill: Fill
    refuse: bool
    stand: bool
    pressure: float

    @property
    def reason(self) -> str:
        """Why jobs are refused, in words; empty when they are not."""
        return f"store nearly full: {self.fill}" if self.refuse else ""


def fill_of(members: Iterable[MemberStatus], limits: StoreLimits) -> Fill:
    """The fill of the fullest member: the first that meets its quota stops all of them.

    Args:
        members: At least one.
    """
    each = [(member, member.quota_bytes or limits.quota_bytes) for member in members]
    fullest, quota_bytes = max(each, key=lambda one: max(one[0].db_size_in_use, one[0].db_size) / one[1])
    return Fill(
        in_use=max(member.db_size_in_use / quota for member, quota in each),
        file=fullest.db_size / quota_bytes,
        quota_bytes=quota_bytes,
        alarmed=any("NOSPACE" in member.alarms for member, _ in each),
    )


def judge(fill: Fill, before: StoreVerdict | None = None) -> StoreVerdict:
    """What this fill asks for. `before`: the verdict in force, for what it stopped begins again only well below.

    >>> judge(Fill(in_use=0.86, file=0.9, quota_bytes=2 * 1024**3)).reason
    'store nearly full: the file of etcd has 90% of its quota of 2GiB, 86% are in use'
    """
    refused, stood = (before.refuse, before.stand) if before is not None else (False, False)
    return StoreVerdict(
        fill,
        refuse=fill.alarmed or _beyond(fill.in_use, REFUSE_AT, refused) or _beyond(fill.file, FILE_AT, refused),
        stand=fill.alarmed or _beyond(fill.in_use, STAND_AT, stood),
        pressure=min(2.0, max(0.0, (fill.in_use - PRUNE_AT) / (REFUSE_AT - PRUNE_AT))),
    )


def _beyond(share: float, limit: float, before: bool) -> bool:
    return share >= (limit - REOPEN_BELOW if before else limit)


def kept_share(pressure: float) -> tuple[float, float, float]:
    """Which share of their time completed, cancelled and failed jobs are kept, in this order; the first give way first.

    Completed ones are down to nothing half way to the limit at which jobs are refused, cancelled ones at that limit;
    only beyond it failed ones give way: somebody may want to try them again.

    >>> kept_share(0.0), kept_share(0.25), kept_share(0.75), kept_share(1.25)
    ((1.0, 1.0, 1.0), (0.5, 1.0, 1.0), (0.0, 0.5, 1.0), (0.0, 0.0, 0.5))
    """
    completed, cancelled, failed = (min(1.0, max(0.0, last - 2 * pressure)) for last in (1.0, 2.0, 3.0))
    return completed, cancelled, failed
