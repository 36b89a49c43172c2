"""Requests of the operator's side, and between them and etcd's messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slurp_leader.etcd import codec
from slurp_leader.store.maintenance import Alarm, MemberInfo, MemberStatus
from slurp_leader.store.requests import Request

_GET, _DEACTIVATE = 0, 2


@dataclass(frozen=True, slots=True)
class AskStatus(Request[MemberStatus]):
    """How is this member? `endpoint`: as it is told again in the answer."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class ListMembers(Request[tuple[MemberInfo, ...]]):
    """Who belongs to the cluster?"""


@dataclass(frozen=True, slots=True)
class ListLeases(Request[int]):
    """How many leases are there?"""


@dataclass(frozen=True, slots=True)
class ListAlarms(Request[tuple[Alarm, ...]]):
    """Which alarms are on?"""


@dataclass(frozen=True, slots=True)
class Disarm(Request[None]):
    """Clear an alarm of one member. etcd clears nothing when no member is named, and says that all is well."""

    alarm: Alarm


@dataclass(frozen=True, slots=True)
class Compact(Request[None]):
    """Forget the history before a revision, and wait until the pages are free."""

    revision: int


@dataclass(frozen=True, slots=True)
class Defragment(Request[None]):
    """Give the free pages of one member back to its disk."""


READS = AskStatus | ListMembers | ListLeases | ListAlarms
"""Those that change nothing."""

OF_ONE_MEMBER = AskStatus | Defragment
"""Those that a member carries out for itself, also when it has no leader."""


def kinds(rpc: Any) -> dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]]:
    """How each is written as a message, and its answer read.

    Args:
        rpc: etcd's messages.
    """
    return {
        AskStatus: (lambda _: rpc.StatusRequest(), lambda asked, answer: codec.member_status(answer, asked.endpoint)),
        ListMembers: (lambda _: rpc.MemberListRequest(), lambda _, answer: _members(answer)),
        ListLeases: (lambda _: rpc.LeaseLeasesRequest(), lambda _, answer: len(answer.leases)),
        ListAlarms: (lambda _: rpc.AlarmRequest(action=_GET), lambda _, answer: _alarms(answer, rpc)),
        Disarm: (lambda disarm: _disarming(disarm.alarm, rpc), _nothing),
        Compact: (lambda compact: rpc.CompactionRequest(revision=compact.revision, physical=True), _nothing),
        Defragment: (lambda _: rpc.DefragmentRequest(), _nothing),
    }


def _members(answer: Any) -> tuple[MemberInfo, ...]:
    return tuple(MemberInfo(each.ID, each.name, tuple(each.clientURLs)) for each in answer.members)


def _alarms(answer: Any, rpc: Any) -> tuple[Alarm, ...]:
    names = {rpc.NOSPACE: "NOSPACE", rpc.CORRUPT: "CORRUPT"}
    return tuple(Alarm(names.get(each.alarm, str(each.alarm)), each.memberID) for each in answer.alarms)


def _disarming(alarm: Alarm, rpc: Any) -> Any:
    kind = {"NOSPACE": rpc.NOSPACE, "CORRUPT": rpc.CORRUPT}[alarm.name]
    return rpc.AlarmRequest(action=_DEACTIVATE, memberID=alarm.member_id, alarm=kind)


def _nothing(request: Any, answer: Any) -> None:
    return None
