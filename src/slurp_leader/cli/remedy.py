"""What `slurp etcd doctor --fix` does: a plan, and carrying it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from slurp_leader.cli.diagnosis import Checkup
from slurp_leader.cli.etcd_faults import breaks_when_defragmented
from slurp_leader.cli.finding import Finding
from slurp_leader.errors import RevisionCompactedError
from slurp_leader.store.maintenance import Alarm, Maintenance, MemberStatus

_LONGEST_COMPACTION_S = 300.0
_LONGEST_DEFRAGMENTATION_S = 1800.0
"""A defragmentation writes the file anew; of some GiB on a slow disk that takes minutes."""
_RISK = "etcd before 3.5.6: a member that crashes while it is defragmented can differ from the others"


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``--fix`` does, in this order.

    Attributes:
        revision: Compact up to it.
        endpoints: Defragment these, the leader of etcd last.
        alarms: Then clear these.
        left_out: Endpoints that do not answer.
        warning: What can go wrong with these versions; empty: nothing that is known.
    """

    revision: int
    endpoints: tuple[str, ...]
    alarms: tuple[Alarm, ...]
    left_out: tuple[str, ...] = ()
    warning: str = ""

    def sentences(self) -> Iterator[str]:
        """The plan in words."""
        yield (
            f"compact at revision {self.revision}: what was overwritten or deleted before is forgotten, for "
            "everybody who uses this etcd"
        )
        for endpoint in self.endpoints:
            yield f"defragment {endpoint}: it answers nobody until that is done"
        for alarm in self.alarms:
            yield f"clear the alarm {alarm.name} of member {alarm.member_id:x}"
        if self.left_out:
            yield f"left out, as they do not answer: {', '.join(self.left_out)}"
        if self.warning:
            yield self.warning


def plan(checkup: Checkup, findings: Iterable[Finding]) -> Plan | None:
    """What would put right what can be put right; None: nothing, or nothing without a quorum."""
    if not checkup.has_quorum or not any(finding.fixable for finding in findings):
        return None
    order = sorted(checkup.statuses, key=lambda status: status.leads)
    return Plan(
        checkup.revision,
        tuple(status.endpoint for status in order),
        tuple(alarm for alarm in checkup.alarms if alarm.name == "NOSPACE"),
        tuple(endpoint for endpoint, answer in checkup.answers.items() if not isinstance(answer, MemberStatus)),
        _RISK if breaks_when_defragmented(order) else "",
    )


def carry_out(maintenance: Maintenance, steps: Plan, say: Callable[[str], None]) -> list[str]:
    """Compact, defragment, disarm. Stops at the first step that fails: what was done stands, and harms nothing.

    Args:
        maintenance: Does it.
        steps: What to do.
        say: Told of each step when it is done.

    Returns:
        What was done, in words.
    """
    done: list[str] = []
    with _doing(say, done, f"compacted at revision {steps.revision}"):
        try:
            maintenance.compact(steps.revision, _LONGEST_COMPACTION_S).result()
        except RevisionCompactedError:
            pass  # somebody else did
    for endpoint in steps.endpoints:
        with _doing(say, done, f"defragmented {endpoint}"):
            maintenance.defragment(endpoint, _LONGEST_DEFRAGMENTATION_S).result()
            # The next one only when this one serves again: two at once could cost the quorum.
            maintenance.status(endpoint, _LONGEST_DEFRAGMENTATION_S).result()
    for alarm in steps.alarms:
        with _doing(say, done, f"cleared the alarm {alarm.name} of member {alarm.member_id:x}"):
            maintenance.disarm(alarm, _LONGEST_COMPACTION_S).result()
    return done


@contextmanager
def _doing(say: Callable[[str], None], done: list[str], what: str) -> Iterator[None]:
    yield
    done.append(what)
    say(what)
