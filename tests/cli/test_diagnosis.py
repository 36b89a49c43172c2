"""What the doctor makes of what etcd tells, and what it would do about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slurp_leader.cli.diagnosis import Checkup, History, diagnose
from slurp_leader.cli.finding import Finding, Severity
from slurp_leader.cli.remedy import plan
from slurp_leader.jobs.quota import StoreLimits
from slurp_leader.store import Header
from slurp_leader.store.maintenance import Alarm, MemberInfo, MemberStatus

MIB = 1024 * 1024
QUOTA = 2048 * MIB


def member(number: int = 1, **changes: Any) -> MemberStatus:
    header = Header(7, number, changes.pop("revision", 1000), changes.pop("term", 3))
    fields: dict[str, Any] = {
        "endpoint": f"m{number}:2379",
        "version": "3.5.14",
        "db_size": 20 * MIB,
        "db_size_in_use": 15 * MIB,
        "quota_bytes": QUOTA,
        "leader_member_id": 1,
        "raft_index": 5000,
        "is_learner": False,
        "alarms": (),
    }
    return MemberStatus(header, **{**fields, **changes})


def checkup(*members: MemberStatus, silent: tuple[str, ...] = (), **changes: Any) -> Checkup:
    answers: dict[str, MemberStatus | str] = {each.endpoint: each for each in members}
    answers |= dict.fromkeys(silent, "connection refused")
    listed = tuple(MemberInfo(number, f"m{number}", ()) for number in range(1, len(answers) + 1))
    fields: dict[str, Any] = {
        "members": listed,
        "leases": 4,
        "history": History(compact_revision=900, gone_h=5.0),
        "writes_s": (0.002, 0.003, 0.004),
    }
    return Checkup(StoreLimits(QUOTA), answers, **{**fields, **changes})


WELL = checkup(member(1), member(2), member(3))


def about(what: str, seen: Checkup) -> list[Finding]:
    return [finding for finding in diagnose(seen) if finding.what == what]


def wrong(seen: Checkup) -> set[str]:
    return {finding.what for finding in diagnose(seen) if finding.is_wrong}


def test_of_a_cluster_that_is_well_nothing_is_wrong_and_nothing_is_done() -> None:
    findings = diagnose(WELL)
    assert wrong(WELL) == set()
    assert plan(WELL, findings) is None
    assert {"reachable", "version", "leader", "members", "space", "compaction", "writes", "leases"} == {
        finding.what for finding in findings
    }


def test_whatever_is_wrong_comes_with_what_to_do() -> None:
    ill = checkup(
        member(1, version="3.5.1", db_size=1900 * MIB, db_size_in_use=1800 * MIB, alarms=("NOSPACE",)),
        member(2, version="3.4.7", raft_index=100_000, leader_member_id=2),
        silent=("m3:2379",),
        alarms=(Alarm("NOSPACE", 1), Alarm("CORRUPT", 2)),
        history=History(0, readable_h=9),
        writes_s=(3.0,),
        leases=50_000,
    )
    findings = [finding for finding in diagnose(ill) if finding.is_wrong]
    assert len({finding.what for finding in findings}) > 6
    assert all(finding.fix for finding in findings)


def test_nothing_that_answers_is_all_there_is_to_say() -> None:
    [finding] = diagnose(checkup(silent=("m1:2379",)))
    assert (finding.what, finding.severity) == ("unreachable", Severity.ERROR)


def test_a_member_that_does_not_answer_leaves_none_to_lose() -> None:
    seen = checkup(member(1), member(2), silent=("m3:2379",))
    assert wrong(seen) == {"unreachable", "members"}
    [members] = about("members", seen)
    assert "no further one may fail" in members.message


def test_without_a_quorum_that_is_said_and_nothing_can_be_done() -> None:
    seen = checkup(member(1, leader_member_id=0, alarms=("NOSPACE",)), silent=("m2:2379", "m3:2379"))
    assert "quorum" in wrong(seen)
    assert plan(seen, diagnose(seen)) is None


def test_a_single_member_and_endpoints_that_are_not_named_are_worth_a_note() -> None:
    assert about("members", checkup(member(1)))[0].severity is Severity.NOTE
    of_three = checkup(member(1), members=WELL.members)
    assert about("endpoints", of_three)[0].severity is Severity.NOTE
    assert wrong(of_three) == set()


def test_learners_do_not_vote() -> None:
    seen = checkup(member(1), member(2), member(3, is_learner=True))
    [members] = about("members", seen)
    assert "2 of 2 voting members" in members.message
    assert about("learner", seen)


def test_members_that_name_different_leaders_or_lag_are_told() -> None:
    assert "leader" in wrong(checkup(member(1), member(2, leader_member_id=2), member(3)))
    assert "lag" in wrong(checkup(member(1, raft_index=50_000), member(2, raft_index=1), member(3, raft_index=50_000)))


@pytest.mark.parametrize(
    ("version", "severity", "upgrade"),
    [
        ("3.5.0", Severity.ERROR, "3.5.13"),
        ("3.5.2", Severity.ERROR, "3.5.13"),
        ("3.5.3", Severity.WARNING, "3.5.13"),
        ("3.5.5", Severity.WARNING, "3.5.13"),
        ("3.5.6", Severity.NOTE, "3.5.13"),
        ("3.5.13", Severity.OK, ""),
        ("3.6.1", Severity.OK, ""),
        ("3.4.7", Severity.ERROR, "3.4.21"),
        ("3.4.20", Severity.WARNING, "3.4.22"),
        ("3.4.23", Severity.OK, ""),
        ("3.3.27", Severity.WARNING, "3.5"),
        ("3.6.0-rc.1", Severity.OK, ""),
        ("memory", Severity.NOTE, ""),
    ],
)
def test_versions_with_known_faults_are_told(version: str, severity: Severity, upgrade: str) -> None:
    [finding] = about("version", checkup(member(1, version=version)))
    assert finding.severity is severity
    assert upgrade in finding.fix


def test_faults_of_single_members_are_not_told_of_three() -> None:
    three = checkup(*(member(number, version="3.4.19") for number in (1, 2, 3)))
    assert wrong(three) == set()
    assert wrong(checkup(member(1, version="3.4.19"))) == {"version"}


@pytest.mark.parametrize(("in_use", "severity"), [(0.5, Severity.OK), (0.75, Severity.WARNING), (0.9, Severity.ERROR)])
def test_space_is_judged_as_leaders_judge_it(in_use: float, severity: Severity) -> None:
    size = int(in_use * QUOTA)
    seen = checkup(member(1, db_size=size, db_size_in_use=size))
    [space] = about("space", seen)
    assert space.severity is severity
    assert (plan(seen, diagnose(seen)) is not None) == (severity is not Severity.OK)


def test_a_quota_that_etcd_does_not_tell_is_taken_from_the_settings_and_that_is_said() -> None:
    seen = checkup(member(1, quota_bytes=0, db_size=1800 * MIB, db_size_in_use=1800 * MIB))
    assert wrong(seen) == {"space"}
    assert about("quota", seen)[0].severity is Severity.NOTE


def test_free_pages_are_told_where_they_are_much() -> None:
    assert about("fragmentation", checkup(member(1, db_size=60 * MIB, db_size_in_use=1 * MIB))) == []
    [some] = about("fragmentation", checkup(member(1, db_size=200 * MIB, db_size_in_use=20 * MIB)))
    [much] = about("fragmentation", checkup(member(1, db_size=1200 * MIB, db_size_in_use=20 * MIB)))
    assert (some.severity, much.severity) == (Severity.NOTE, Severity.WARNING)


def test_a_history_that_nobody_compacts_is_told_where_it_is_long() -> None:
    long = checkup(member(1, revision=900_000), history=History(0, readable_h=7.2))
    [finding] = about("compaction", long)
    assert finding.is_wrong
    assert "7 h" in finding.message
    assert "--auto-compaction-retention=1h" in finding.fix
    assert not about("compaction", checkup(member(1, revision=900), history=History(0, readable_h=7.2)))[0].is_wrong
    untold = about("compaction", checkup(member(1, revision=900_000), history=History(0)))[0]
    assert untold.severity is Severity.NOTE
    assert "cannot be told" in untold.message


def test_writes_are_judged_by_what_heartbeats_are_given() -> None:
    assert wrong(checkup(member(1), writes_s=(0.01, 0.02, 1.2), rpc_timeout_s=2.0)) == {"writes"}
    assert wrong(checkup(member(1), writes_s=(0.01, 0.02, 0.3), rpc_timeout_s=2.0)) == set()
    assert wrong(checkup(member(1), writes_s=(0.2, 0.2, 0.3), rpc_timeout_s=2.0)) == {"writes"}


def test_followers_are_defragmented_first_and_what_does_not_answer_is_left_out() -> None:
    full = [member(number, alarms=("NOSPACE",), leader_member_id=2) for number in (1, 2, 3)]
    seen = checkup(*full, silent=("m4:2379",), alarms=(Alarm("NOSPACE", 3), Alarm("CORRUPT", 1)))
    steps = plan(seen, diagnose(seen))
    assert steps is not None
    assert steps.endpoints == ("m1:2379", "m3:2379", "m2:2379")
    assert steps.alarms == (Alarm("NOSPACE", 3),)
    assert steps.left_out == ("m4:2379",)
    sentences = list(steps.sentences())
    assert "compact at revision 1000" in sentences[0]
    assert "answers nobody" in sentences[1]
    assert steps.warning == ""


def test_a_plan_warns_where_a_crash_in_it_would_harm() -> None:
    seen = checkup(*(member(number, version="3.5.4", alarms=("NOSPACE",)) for number in (1, 2, 3)))
    steps = plan(seen, diagnose(seen))
    assert steps is not None
    assert "3.5.6" in list(steps.sentences())[-1]
    alone = replace(seen, answers={"m1:2379": member(1, version="3.5.4", alarms=("NOSPACE",))})
    steps = plan(alone, diagnose(alone))
    assert steps is not None
    assert steps.warning == ""
