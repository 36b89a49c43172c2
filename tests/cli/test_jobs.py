"""Submit, look, wait, cancel: against a real node on a real etcd."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cli.conftest import Slurp
from slurp_leader import SlurpLeaderSystem
from slurp_leader.cli.job_conditions import PriorityName, StatusName
from slurp_leader.cli.jobs import _show_report
from slurp_leader.cli.new_jobs import OnDuplicateName
from slurp_leader.jobs.new_job import OnDuplicate
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.reports import JobReport
from slurp_leader.jobs.request import Priority
from support.waiting import WAIT_S

pytestmark = pytest.mark.etcd

NO_JOB = "01a208d6-957d-7000-8355-cafd07bc6911"


def test_the_words_of_the_help_are_those_of_the_library() -> None:
    assert [name.value for name in PriorityName] == [priority.value for priority in Priority]
    assert [name.value for name in StatusName] == [status.value for status in JobStatus]
    assert [name.value for name in OnDuplicateName] == [policy.value for policy in OnDuplicate]


def test_submit_prints_an_id_that_every_other_command_takes(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    submitted = slurp("submit", "greet.py", "--role", "reviewer", "--priority", "high")
    assert submitted.code == 0
    job_id = submitted.out.strip()
    waited = slurp("jobs", "wait", job_id, "--for", WAIT_S)
    assert waited.code == 0
    assert "greet.py, for reviewer: completed" in waited.out
    assert "Greets people." in waited.out
    listed = slurp("jobs", "ls", "--status", "completed")
    assert job_id in listed.out
    shown = slurp("jobs", "show", job_id, "--json").json["jobs"][0]
    assert (shown["status"], shown["node_id"], shown["result"]["path"]) == ("completed", "node-a", "greet.py")
    assert "Greets people." in slurp("jobs", "show", job_id).out


@pytest.fixture
def results_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """On every node that is started after this."""
    monkeypatch.setenv("SLURP_JOBS__CACHE_BYTES", "1MiB")


def test_an_answer_from_the_cache_says_so(results_are_kept: None, slurp: Slurp, node: SlurpLeaderSystem) -> None:
    first, second = (slurp("submit", "greet.py", "--wait", "--for", WAIT_S) for _ in range(2))
    assert "from the cache" not in first.out
    assert "from the cache" in second.out
    newest, oldest = slurp("jobs", "ls", "--json").json["jobs"]
    assert (newest["cached"], oldest["cached"]) == (True, False)
    assert "an earlier job with the same content" in slurp("jobs", "show", newest["id"]).out
    assert "an earlier job" not in slurp("jobs", "show", oldest["id"]).out


def test_submit_and_wait_shows_results_as_one_document(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    result = slurp("submit", "greet.py", "greet.py", "--wait", "--for", WAIT_S, "--json")
    assert result.code == 0
    assert [job["status"] for job in result.json["jobs"]] == ["completed", "completed"]
    assert result.json["jobs"][0]["node"]["path"] == "greet.py"


def test_a_request_that_is_refused_harms_no_others(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    result = slurp("submit", "x\ny", "greet.py", "--wait", "--for", WAIT_S, "--json")
    assert result.code == 2
    refused, done = result.json["jobs"]
    assert refused["error"]["field"] == "file_path"
    assert (done["path"], done["status"]) == ("greet.py", "completed")


def test_one_idempotency_key_makes_one_job(slurp: Slurp, cluster: str) -> None:
    first = slurp("submit", "greet.py", "--idempotency-key", "k1")
    second = slurp("submit", "greet.py", "--idempotency-key", "k1")
    assert second.out == first.out
    assert "was used before" in second.err
    document = slurp("submit", "greet.py", "--idempotency-key", "k1", "--json").json
    assert document == {"jobs": [{"path": "greet.py", "id": first.out.strip(), "created": False}]}


def test_one_idempotency_key_with_two_bodies_is_a_conflict(slurp: Slurp, cluster: str) -> None:
    assert slurp("submit", "greet.py", "--idempotency-key", "k1").code == 0
    refused = slurp("submit", "other.py", "--idempotency-key", "k1")
    assert (refused.code, refused.out) == (6, "")
    assert "use a new key" in refused.err
    as_json = slurp("submit", "other.py", "--idempotency-key", "k1", "--json")
    assert as_json.code == 6
    assert as_json.json["jobs"][0]["error"]["type"] == "IdempotencyConflictError"
    assert len(slurp("jobs", "ls", "--json").json["jobs"]) == 1


def test_a_key_for_several_files_is_refused_before_anything_is_sent(slurp: Slurp, cluster: str) -> None:
    assert slurp("submit", "a.py", "b.py", "--idempotency-key", "k1").code == 2
    assert slurp("jobs", "ls", "--json").json == {"jobs": []}


def test_a_queued_job_is_listed_and_can_be_cancelled(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    job_id = slurp("submit", "greet.py", "--delay", 3600).out.strip()
    listed = slurp("jobs", "ls", "--json").json["jobs"]
    assert [(job["id"], job["status"]) for job in listed] == [(job_id, "scheduled")]
    assert slurp("jobs", "cancel", job_id, "--reason", "not needed").out == f"{job_id}  requested\n"
    waited = slurp("jobs", "wait", job_id, "--for", WAIT_S)
    assert waited.code == 1
    assert "not needed" in waited.err
    assert slurp("jobs", "cancel", job_id, "--json").json == {"jobs": [{"id": job_id, "answer": "already_done"}]}


@pytest.mark.parametrize(
    ("path", "code"),
    [("../secret.py", "outside"), ("nowhere.py", "missing"), ("empty.py", "empty"), ("packed.bin", "binary")],
)
def test_a_file_that_cannot_be_worked_on_ends_failed_and_says_why(
    slurp: Slurp, node: SlurpLeaderSystem, workspace: Path, path: str, code: str
) -> None:
    (workspace / "empty.py").touch()
    (workspace / "packed.bin").write_bytes(b"\x00\x01\x02")
    result = slurp("submit", path, "--wait", "--for", WAIT_S, "--json")
    assert result.code == 1
    job = result.json["jobs"][0]
    assert (job["status"], job["error"]["error"]["code"]) == ("failed", code)
    failed = slurp("jobs", "ls", "--status", "failed")
    assert path in failed.out
    assert code in failed.out


def test_waiting_without_a_leader_ends_in_time_and_says_so(slurp: Slurp, cluster: str) -> None:
    result = slurp("submit", "greet.py", "--wait", "--for", 0.2)
    assert result.code == 3
    assert "nobody leads" in result.err
    assert "slurp run" in result.err


def test_a_job_that_is_not_due_is_still_pending_when_the_wait_is_over(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    result = slurp("submit", "greet.py", "--delay", 3600, "--wait", "--for", 0.2, "--json")
    assert result.code == 75
    assert result.json["jobs"][0]["error"]["type"] == "ResultPendingError"


@pytest.mark.parametrize("verb", ["show", "wait", "cancel"])
def test_an_unknown_job_is_not_found(slurp: Slurp, cluster: str, verb: str) -> None:
    result = slurp("jobs", verb, NO_JOB)
    assert result.code == 5
    assert NO_JOB in result.err
    assert "slurp jobs ls" in result.err


def test_metadata_comes_from_the_line_or_a_file_and_travels_along(slurp: Slurp, cluster: str, tmp_path: Path) -> None:
    file = tmp_path / "metadata.json"
    file.write_text(json.dumps({"ticket": 8}))
    slurp("submit", "a.py", "--metadata", '{"ticket": 7}')
    slurp("submit", "b.py", "--metadata", f"@{file}")
    jobs = slurp("jobs", "ls", "--json").json["jobs"]
    assert [job["request"]["metadata"] for job in jobs] == [{"ticket": 8}, {"ticket": 7}]


def test_an_oversized_request_is_refused_and_nothing_is_submitted(slurp: Slurp, cluster: str, tmp_path: Path) -> None:
    file = tmp_path / "metadata.json"
    file.write_text(json.dumps({"text": "x" * (1024 * 1024 + 1)}))
    result = slurp("submit", "a.py", "--metadata", f"@{file}", "--json")
    assert result.code == 2
    assert result.json["jobs"][0]["error"]["field"] == "metadata"
    assert len(result.err) < 500
    assert slurp("jobs", "ls", "--json").json == {"jobs": []}


def test_a_list_that_was_cut_says_so(slurp: Slurp, cluster: str) -> None:
    slurp("submit", "a.py", "b.py", "c.py")
    result = slurp("jobs", "ls", "--limit", 2)
    assert len(result.out.splitlines()) == 3
    assert "--limit" in result.err


def test_a_result_in_the_payload_store_is_shown_and_what_prevents_it_is_told(
    slurp: Slurp, cluster: str, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "payloads"
    folder.mkdir()
    monkeypatch.setenv("SLURP_JOBS__PAYLOAD_STORE", str(folder))
    monkeypatch.setenv("SLURP_JOBS__RESULT_LIMIT", "1KiB")
    monkeypatch.setenv("SLURP_JOBS__COMPRESS_ABOVE", "1MiB")
    with SlurpLeaderSystem() as system:
        assert system.wait_for_leadership(WAIT_S)
        job_id = slurp("submit", "greet.py").out.strip()
        assert "Greets people." in slurp("jobs", "wait", job_id, "--for", WAIT_S).out
        [path] = [path for path in folder.rglob("*") if path.is_file()]
        shown = slurp("jobs", "show", job_id).out
        assert "Greets people." in shown
        assert f"payload {path.name}" in shown
        path.unlink()
        assert f"payload {path.name} is not in" in " ".join(slurp("jobs", "show", job_id).out.split())
        assert slurp("jobs", "wait", job_id, "--for", WAIT_S).code == 5
        monkeypatch.delenv("SLURP_JOBS__PAYLOAD_STORE")
        refused = slurp("jobs", "wait", job_id, "--for", WAIT_S)
        assert (refused.code, "jobs.payload_store" in refused.err) == (78, True)


@pytest.mark.parametrize(
    ("report", "counted", "used"),
    [
        (JobReport("1", JobStatus.RUNNING, slots=1), "", ""),
        (JobReport("1", JobStatus.RUNNING, slots=2, memory=2**30), "2 slots, 1GiB of memory", ""),
        (JobReport("1", JobStatus.COMPLETED, use={"cpu_s": 1234.5}), "", "1234.500 s of processor time"),
        (
            JobReport("1", JobStatus.FAILED, slots=1, use={"cpu_s": 0.25, "memory": 5_000_000}),
            "",
            "0.250 s of processor time, at most 5MiB of memory",
        ),
    ],
)
def test_what_a_run_is_counted_with_and_what_it_took(report: JobReport, counted: str, used: str) -> None:
    shown: dict[str, str] = {}
    output = SimpleNamespace(fields=shown.update)
    _show_report(cast("Any", output), report)
    assert (shown["counted with"], shown["used"]) == (counted, used)
