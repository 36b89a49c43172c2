"""What `slurp etcd doctor` makes of what it was told: plain functions from a `Checkup` to sentences."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from slurp_leader.cli.etcd_faults import version_findings
from slurp_leader.cli.finding import Finding, Severity
from slurp_leader.jobs.compaction import FIX, MANY_REVISIONS
from slurp_leader.jobs.quota import StoreLimits, fill_of, judge
from slurp_leader.options import format_size
from slurp_leader.store.maintenance import Alarm, MemberInfo, MemberStatus

_MIB = 1024 * 1024
_DO_FIX = "`slurp etcd doctor --fix` does it"
_LAGS = 5_000
"""Raft entries behind; etcd itself refuses writes when so many wait to be applied."""
_MANY_LEASES = 10_000
_LARGE_FILE = 64 * _MIB
_SLOW_S = 0.1
"""Median of a write. The disk of an etcd should sync in 10 ms; then a write takes a few more."""


@dataclass(frozen=True, slots=True)
class History:
    """How much of the past the store keeps.

    Attributes:
        compact_revision: What was overwritten before it is gone; 0: nothing was ever compacted.
        readable_h: Age in hours of a record that was written and dated by some node, and whose revision can still be
            read; None: no such record is old enough to tell.
        gone_h: The same of one whose revision is gone.
    """

    compact_revision: int
    readable_h: float | None = None
    gone_h: float | None = None


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was asked and told.

    Attributes:
        limits: As the settings say.
        answers: By endpoint: the status of the member there, or why there is none.
        members: All members as the cluster lists them; None: it did not say.
        alarms: Those that are on.
        leases: How many there are; None: not told.
        history: None: not told.
        writes_s: How long single writes took, one after the other.
        write_error: Why none was made.
        rpc_timeout_s: Deadline of the heartbeats of a leader.
    """

    limits: StoreLimits
    answers: dict[str, MemberStatus | str]
    members: tuple[MemberInfo, ...] | None = None
    alarms: tuple[Alarm, ...] = ()
    leases: int | None = None
    history: History | None = None
    writes_s: tuple[float, ...] = ()
    write_error: str = ""
    rpc_timeout_s: float = 2.0

    @property
    def statuses(self) -> list[MemberStatus]:
        """Of the members that answered."""
        return [answer for answer in self.answers.values() if isinstance(answer, MemberStatus)]

    @property
    def has_quorum(self) -> bool:
        """Whether a member knows a leader."""
        return any(status.leader_member_id for status in self.statuses)

    @property
    def revision(self) -> int:
        return max((status.header.revision for status in self.statuses), default=0)


def diagnose(checkup: Checkup) -> list[Finding]:
    """Everything there is to say, in the order in which things rest on each other."""
    found = list(_reach(checkup))
    if checkup.statuses:
        found += [*version_findings(checkup.statuses), *_quorum(checkup), *_lag(checkup.statuses)]
        found += [*_space(checkup), *_fragmentation(checkup), *_alarms(checkup.alarms), *_history(checkup)]
        found += [*_writes(checkup), *_leases(checkup)]
    return found


# ---------------------------------------------------------------- who answers


def _reach(checkup: Checkup) -> Iterator[Finding]:
    answering = [endpoint for endpoint, answer in checkup.answers.items() if isinstance(answer, MemberStatus)]
    for endpoint, answer in checkup.answers.items():
        if not isinstance(answer, MemberStatus):
            severity = Severity.WARNING if answering else Severity.ERROR
            fix = "see whether that member runs, and whether etcd.endpoints is right"
            yield Finding("unreachable", severity, f"{endpoint} does not answer: {answer}", fix)
    if answering:
        message = f"{len(answering)} of the {len(checkup.answers)} endpoints answer: {', '.join(answering)}"
        if len(answering) == len(checkup.answers):
            message = f"all endpoints answer: {', '.join(answering)}"
        yield Finding("reachable", Severity.OK, message)


def _quorum(checkup: Checkup) -> Iterator[Finding]:
    statuses, members = checkup.statuses, checkup.members
    if not checkup.has_quorum:
        message = (
            "no member knows a leader: the cluster has no quorum, nothing can be written, and nobody can be elected"
        )
        yield Finding("quorum", Severity.ERROR, message, "bring back most of its members")
        return
    for status in statuses:
        if not status.leader_member_id:
            message = f"{status.endpoint} knows no leader: it is cut off from the others"
            yield Finding("quorum", Severity.ERROR, message, "look at the network between the members")
    leaders = {status.leader_member_id for status in statuses if status.leader_member_id}
    if len(leaders) > 1:
        message = "members name different leaders: a new one was elected just now, or some are cut off"
        yield Finding("leader", Severity.WARNING, message, "run this again; then look at the network between them")
    leading = next(
        (status.endpoint for status in statuses if status.leads), "a member that etcd.endpoints does not name"
    )
    term = max(status.header.raft_term for status in statuses)
    yield Finding("leader", Severity.OK, f"the leader of etcd is {leading}, in raft term {term}")
    if members is not None:
        yield from _of_the_members(members, statuses, len(checkup.answers))


def _of_the_members(
    members: Sequence[MemberInfo], statuses: Sequence[MemberStatus], endpoints: int
) -> Iterator[Finding]:
    learners = {status.header.member_id for status in statuses if status.is_learner}
    voters = [member for member in members if member.member_id not in learners]
    needed = len(voters) // 2 + 1
    up = {status.header.member_id for status in statuses} - learners
    if learners:
        yield Finding("learner", Severity.NOTE, f"{len(learners)} of the members follow without a vote (learners)")
    if len(members) == 1:
        message = "there is a single member: while it is down nothing is written, and with its disk all is lost"
        yield Finding("members", Severity.NOTE, message, "run three members where that matters")
    elif endpoints < len(members):
        message = f"the cluster has {len(members)} members, and etcd.endpoints names {endpoints}"
        fix = "name all of them, so that the loss of one is survived, and that all can be looked at and defragmented"
        yield Finding("endpoints", Severity.NOTE, message, fix)
    elif len(up) <= needed:
        message = f"{len(up)} of {len(voters)} voting members answer, and {needed} are needed: no further one may fail"
        yield Finding("members", Severity.WARNING, message, "bring the others back")
    else:
        spare = len(up) - needed
        message = f"{len(up)} of {len(voters)} voting members answer, and {needed} are needed: {spare} may fail"
        yield Finding("members", Severity.OK, message)


def _lag(statuses: Sequence[MemberStatus]) -> Iterator[Finding]:
    newest = max(status.raft_index for status in statuses)
    for status in statuses:
        behind = newest - status.raft_index
        if behind > _LAGS:
            message = f"{status.endpoint} is {behind} entries behind the others"
            yield Finding("lag", Severity.WARNING, message, "look at its disk and its network")


# ---------------------------------------------------------------- space


def _space(checkup: Checkup) -> Iterator[Finding]:
    verdict = judge(fill_of(checkup.statuses, checkup.limits))
    fill = verdict.fill
    fix = f"compact and defragment ({_DO_FIX}); where that is not enough, raise --quota-backend-bytes of etcd"
    told = any(status.quota_bytes for status in checkup.statuses)
    if verdict.refuse:
        message = f"{fill}: new jobs are refused"
        yield Finding("space", Severity.ERROR, message, fix, fixable=True)
    elif verdict.pressure > 0:
        message = f"{fill}: outcomes of jobs are pruned early"
        yield Finding("space", Severity.WARNING, message, fix, fixable=True)
    else:
        yield Finding("space", Severity.OK, str(fill))
    if not told:
        quota = format_size(checkup.limits.quota_bytes)
        message = f"this etcd does not tell its quota; {quota} is what etcd.quota_bytes says"
        yield Finding("quota", Severity.NOTE, message, "make sure that it is etcd's --quota-backend-bytes")


def _fragmentation(checkup: Checkup) -> Iterator[Finding]:
    for status in checkup.statuses:
        free = status.db_size - status.db_size_in_use
        if status.db_size < _LARGE_FILE or free < status.db_size / 2:
            continue
        quota = status.quota_bytes or checkup.limits.quota_bytes
        severity = Severity.WARNING if status.db_size > quota / 2 else Severity.NOTE
        message = f"of the file of {status.endpoint} ({_mib(status.db_size)}), {_mib(free)} are free pages"
        fix = f"defragment it ({_DO_FIX}); it answers nobody meanwhile"
        yield Finding("fragmentation", severity, message, fix, fixable=True)


def _alarms(alarms: Iterable[Alarm]) -> Iterator[Finding]:
    for alarm in alarms:
        of = f"member {alarm.member_id:x}"
        if alarm.name == "NOSPACE":
            message = f"{of} has met its quota (alarm NOSPACE): the whole cluster refuses writes and leases"
            fix = f"compact, defragment, then clear the alarm ({_DO_FIX})"
            yield Finding("alarm", Severity.ERROR, message, fix, fixable=True)
        else:
            message = f"{of} raised the alarm {alarm.name}: its data differs from that of the others"
            yield Finding("alarm", Severity.ERROR, message, "replace that member: remove it, and add it anew, empty")


def _history(checkup: Checkup) -> Iterator[Finding]:
    history = checkup.history
    if history is None:
        return
    kept = checkup.revision - max(1, history.compact_revision)
    if history.readable_h is not None and kept >= MANY_REVISIONS:
        message = (
            f"nothing has compacted etcd for {history.readable_h:.0f} h: {kept} revisions are kept, with everything "
            "that was overwritten or deleted"
        )
        yield Finding("compaction", Severity.WARNING, message, f"{FIX}; compact now ({_DO_FIX})", fixable=True)
    elif history.gone_h is not None:
        message = f"the history is compacted: what was overwritten {history.gone_h:.0f} h ago is gone"
        yield Finding("compaction", Severity.OK, f"{message}; {kept} revisions are kept")
    else:
        compacted = "compacted before" if history.compact_revision else "never compacted"
        message = (
            f"{kept} revisions are kept, {compacted}; whether etcd compacts by itself cannot be told: no record "
            "here is old enough"
        )
        yield Finding("compaction", Severity.NOTE, message, FIX)


# ---------------------------------------------------------------- how fast


def _writes(checkup: Checkup) -> Iterator[Finding]:
    if checkup.write_error:
        yield Finding("writes", Severity.NOTE, f"no write was tried: {checkup.write_error}")
    if not checkup.writes_s:
        return
    median, slowest = statistics.median(checkup.writes_s), max(checkup.writes_s)
    took = f"a write takes {_ms(median)} (median of {len(checkup.writes_s)}), {_ms(slowest)} at most"
    fix = "give etcd a disk of its own, with fast fsync, and members that are near each other"
    if slowest > checkup.rpc_timeout_s / 2:
        message = f"{took}: a leader gives a heartbeat {_ms(checkup.rpc_timeout_s)} (election.rpc_timeout)"
        yield Finding("writes", Severity.WARNING, message, fix)
    elif median > _SLOW_S:
        yield Finding("writes", Severity.WARNING, took, fix)
    else:
        yield Finding("writes", Severity.OK, took)


def _leases(checkup: Checkup) -> Iterator[Finding]:
    if checkup.leases is None:
        return
    message = f"{checkup.leases} leases, revision {checkup.revision}"
    if checkup.leases > _MANY_LEASES:
        fix = "see who makes them: this library has one for each election of a process"
        yield Finding("leases", Severity.WARNING, message, fix)
    else:
        yield Finding("leases", Severity.OK, message)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"
