"""Known faults of etcd's versions.

Source: etcd's CHANGELOG-3.4 and CHANGELOG-3.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slurp_leader.cli.finding import Finding, Severity
from slurp_leader.store.maintenance import MemberStatus

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Fault:
    """A known fault of the versions from `first` up to and without `fixed`."""

    first: Version
    fixed: Version
    severity: Severity
    effect: str
    alone: bool = False  # of single members only


_FAULTS = (
    _Fault((3, 5, 0), (3, 5, 3), Severity.ERROR, "after a crash under load, members can differ in their data"),
    _Fault((3, 4, 0), (3, 4, 8), Severity.ERROR, "with users switched on, members can differ in their data"),
    _Fault((3, 5, 0), (3, 5, 5), Severity.WARNING, "a single member can lose an acknowledged write in a crash", True),
    _Fault((3, 4, 0), (3, 4, 21), Severity.WARNING, "a single member can lose an acknowledged write in a crash", True),
    _Fault((3, 5, 0), (3, 5, 6), Severity.WARNING, "a crash during a defragmentation can make members differ"),
    _Fault((3, 4, 20), (3, 4, 22), Severity.WARNING, "with users switched on, a member that is added can differ"),
    _Fault((3, 5, 5), (3, 5, 6), Severity.WARNING, "with users switched on, a member that is added can differ"),
    _Fault((3, 5, 0), (3, 5, 13), Severity.NOTE, "leases can be revoked wrongly when etcd changes its leader"),
)
_OLDEST: Version = (3, 4, 0)
_ORDER = list(Severity)


def version_findings(statuses: Sequence[MemberStatus]) -> Iterator[Finding]:
    """What there is to say of the versions of these members."""
    versions = sorted({status.version for status in statuses})
    alone = len(statuses) == 1
    found = [finding for version in versions for finding in _of_version(version, alone)]
    if len(versions) > 1:
        message = f"members run different versions: {', '.join(versions)}"
        found.append(Finding("version", Severity.NOTE, message, "finish the upgrade"))
    if not found:
        found.append(Finding("version", Severity.OK, f"etcd {versions[0]} has no fault that is known here"))
    yield from found


def _of_version(text: str, alone: bool) -> Iterator[Finding]:
    version = _parse(text)
    if version is None:
        yield Finding("version", Severity.NOTE, f"{text!r} is no version of etcd that is known here")
        return
    if version < _OLDEST:
        message = f"etcd {text} is older than what this library is tested with"
        yield Finding("version", Severity.WARNING, message, "upgrade to 3.5 or later")
    met = [each for each in _FAULTS if each.first <= version < each.fixed and (alone or not each.alone)]
    if met:
        worst = max((fault.severity for fault in met), key=_ORDER.index)
        message = f"etcd {text} has known faults: {'; '.join(fault.effect for fault in met)}"
        fix = f"upgrade to {'.'.join(map(str, max(fault.fixed for fault in met)))} or later"
        yield Finding("version", worst, message, fix)


def breaks_when_defragmented(statuses: Sequence[MemberStatus]) -> bool:
    """Whether a member that crashes while it is defragmented can differ from the others afterwards."""
    versions = [_parse(status.version) or _OLDEST for status in statuses]
    return len(versions) > 1 and any((3, 5, 0) <= version < (3, 5, 6) for version in versions)


def _parse(text: str) -> Version | None:
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
