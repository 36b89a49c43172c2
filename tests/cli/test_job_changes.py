"""Cancel, retry, purge, release, by id and by conditions; and what `slurp submit` takes: on a real etcd."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from slurp_leader import SlurpLeaderSystem
from slurp_leader.jobs.records import JobKeys
from slurp_leader.store import Get, Put
from slurp_leader.store.keyspace import Keyspace

from .conftest import WAIT_S, Slurp

pytestmark = pytest.mark.etcd

NO_JOB = "01a208d6-957d-7000-8355-cafd07bc6911"


def ids_of(result: object) -> list[str]:
    return [job["id"] for job in result.json["jobs"]]  # type: ignore[attr-defined]


def test_jobs_are_cancelled_by_conditions_and_the_answer_waits_for_the_leader(
    slurp: Slurp, node: SlurpLeaderSystem
) -> None:
    mine = ids_of(slurp("submit", "a.py", "b.py", "--role", "reviewer", "--delay", 3600, "--json"))
    [other] = ids_of(slurp("submit", "c.py", "--delay", 3600, "--json"))
    cancelled = slurp("jobs", "cancel", "--role", "reviewer", "--for", WAIT_S, "--json")
    assert cancelled.code == 0
    assert {job["id"]: job["answer"] for job in cancelled.json["jobs"]} == dict.fromkeys(mine, "cancelled")
    assert ids_of(slurp("jobs", "ls", "--status", "scheduled", "--json")) == [other]
    assert "no jobs that meet this" in slurp("jobs", "cancel", "--role", "reviewer").err


def test_of_several_ids_one_that_is_wrong_harms_no_other(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    [job_id] = ids_of(slurp("submit", "a.py", "--delay", 3600, "--json"))
    result = slurp("jobs", "cancel", NO_JOB, job_id)
    assert (result.code, result.out) == (5, f"{job_id}  requested\n")
    assert NO_JOB in result.err


@pytest.mark.parametrize("verb", ["cancel", "retry", "purge"])
@pytest.mark.parametrize(
    "given",
    [[], ["--all", "--role", "x"], [NO_JOB, "--all"], [NO_JOB, "--role", "x"], ["nonsense"], ["--older-than", "soon"]],
)
def test_what_is_meant_has_to_be_said_in_one_way(slurp: Slurp, cluster: str, verb: str, given: list[str]) -> None:
    result = slurp("jobs", verb, *given)
    assert (result.code, result.out) == (2, "")


def test_dead_letters_are_listed_tried_again_and_purged(slurp: Slurp, node: SlurpLeaderSystem, workspace: Path) -> None:
    failed = ids_of(slurp("submit", "late.py", "never.py", "--wait", "--for", WAIT_S, "--json"))
    assert sorted(ids_of(slurp("jobs", "ls", "--status", "failed", "--code", "missing", "--json"))) == sorted(failed)
    (workspace / "late.py").write_text('"""Came late."""\n')
    again = slurp("jobs", "retry", "--code", "missing", "--json").json["jobs"]
    assert {job["id"]: job["answer"] for job in again} == dict.fromkeys(failed, "retried")
    waited = slurp("jobs", "wait", *failed, "--for", WAIT_S, "--json").json["jobs"]
    assert [job["status"] for job in waited] == ["completed", "failed"]
    shown = slurp("jobs", "show", failed[1]).out
    assert "tried again" in shown
    assert slurp("jobs", "retry", failed[0]).out == f"{failed[0]}  not kept\n"
    refused = slurp("jobs", "purge", "--status", "failed")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert slurp("jobs", "purge", "--status", "failed", "--yes").out == f"{failed[1]}  purged\n"
    assert slurp("jobs", "show", failed[1]).code == 5
    assert slurp("jobs", "purge", failed[0]).out == f"{failed[0]}  purged\n"
    assert slurp("jobs", "ls", "--json").json == {"jobs": []}


def test_a_record_that_nobody_can_read_is_shown_safely_put_right_and_released(
    slurp: Slurp, node: SlurpLeaderSystem, cluster: str, tmp_path: Path
) -> None:
    [job_id, doomed] = ids_of(slurp("submit", "greet.py", "greet.py", "--delay", 3600, "--json"))
    keys, store = JobKeys(Keyspace(cluster)), node._running().store
    good = store.call(Get(keys.queue + job_id.encode()), 10).result().kvs[0].value
    for each in (job_id, doomed):
        store.call(Put(keys.queue + each.encode(), b"\x1b[31mbroken"), 10).result()
    assert slurp("jobs", "parked", "ls", "--json").json["parked"][0]["name"] == f"queue/{job_id}"
    assert f"queue/{doomed}" in slurp("jobs", "parked", "ls").out
    shown = slurp("jobs", "parked", "show", f"queue/{job_id}")
    assert "\\x1b[31mbroken" in shown.out
    assert "\x1b[31m" not in shown.out
    still = slurp("jobs", "parked", "release", f"queue/{job_id}")
    assert still.code == 1
    assert "still cannot be read" in still.err
    fixed = tmp_path / "fixed.json"
    fixed.write_bytes(good)
    assert slurp("jobs", "parked", "release", f"queue/{job_id}", "--value", fixed).out.endswith("put right\n")
    assert slurp("jobs", "parked", "release", f"queue/{doomed}", "--delete").out.endswith("deleted\n")
    waited = slurp("jobs", "wait", doomed, "--for", WAIT_S, "--json")
    assert waited.json["jobs"][0]["error"]["error"]["code"] == "parked"
    assert slurp("jobs", "show", job_id, "--json").json["jobs"][0]["status"] == "scheduled"
    assert "nothing is parked" in slurp("jobs", "parked", "ls").err
    assert slurp("jobs", "parked", "show", f"queue/{NO_JOB}").code == 5


# ---------------------------------------------------------------- submit


def test_a_key_that_was_used_is_refused_or_replaced_if_that_is_asked_for(slurp: Slurp, cluster: str) -> None:
    [first] = ids_of(slurp("submit", "a.py", "--idempotency-key", "k", "--json"))
    refused = slurp("submit", "a.py", "--idempotency-key", "k", "--on-duplicate", "raise")
    assert refused.code == 6
    assert first in refused.err
    replaced = slurp("submit", "b.py", "--idempotency-key", "k", "--on-duplicate", "replace", "--json").json["jobs"]
    assert [job["replaced"] for job in replaced] == [first]
    assert "takes the place of" in slurp("submit", "c.py", "--idempotency-key", "k", "--on-duplicate", "replace").err


def test_dates_and_times_of_a_job_are_kept_with_it(slurp: Slurp, cluster: str) -> None:
    options = ("--run-at", "2099-01-01T00:00:00Z", "--deadline", "2099-01-01T01:00:00+01:00", "--queue-timeout", 5)
    wrong = slurp("submit", "a.py", *options)
    assert wrong.code == 2
    assert "--deadline" in wrong.err
    [job_id] = ids_of(
        slurp("submit", "a.py", "--run-at", "2099-01-01T00:00:00Z", "--deadline", "2099-01-02T00:00:00Z",
              "--queue-timeout", 5, "--json")
    )  # fmt: skip
    job = slurp("jobs", "show", job_id, "--json").json["jobs"][0]
    assert (job["run_at"], job["deadline"]) == ("2099-01-01T00:00:00.000Z", "2099-01-02T00:00:00.000Z")
    assert job["expires_at"] == "2099-01-01T00:00:05.000Z"
    assert slurp("submit", "a.py", "--deadline", "2h").code == 0
    assert slurp("submit", "a.py", "--deadline", "tomorrow").code == 2
    assert slurp("submit", "a.py", "--run-at", "2099-01-01T00:00:00").code == 2
    assert slurp("submit", "a.py", "--run-at", "9999-12-31T23:59:59-01:00").code == 2


def test_patterns_and_paths_from_standard_input_are_submitted(
    slurp: Slurp, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("src/deep")
    folder.mkdir(parents=True)
    for name in ("src/a.py", "src/deep/b.py", "src/deep/c.txt", "odd[1].py"):
        Path(name).touch()
    monkeypatch.setattr("sys.stdin", io.StringIO("x.py\n\ny z.py\r\n"))
    jobs = slurp("submit", "src/**/*.py", "-", "odd[1].py", "--json").json["jobs"]
    assert [job["path"] for job in jobs] == ["src/a.py", "src/deep/b.py", "x.py", "y z.py", "odd[1].py"]
    nothing = slurp("submit", "none/*.py")
    assert (nothing.code, nothing.out) == (2, "")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert slurp("submit", "-").code == 2


def test_a_full_queue_is_waited_for_if_that_is_asked_for(slurp: Slurp, node: SlurpLeaderSystem, cluster: str) -> None:
    from slurp_leader.jobs.records import closed_value

    keys, store = JobKeys(Keyspace(cluster)), node._running().store
    node.stop()
    with SlurpLeaderSystem(node.settings, candidate=False) as client:
        store = client._running().store
        store.call(Put(keys.closed, closed_value("full", "me")), 10).result()
        refused = slurp("submit", "a.py", "--block", 0.05, "--json")
        assert refused.code == 75
        assert refused.json["jobs"][0]["error"]["retry_after_s"] == 10.0
