"""The plan of a recovery: from how things stand, what there is to do; and how a leader goes about it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rig import KEYS, KEYSPACE, Rig, deletes, puts
from slurp_leader.errors import RequestTooLargeError
from slurp_leader.jobs.ids import IdMint
from slurp_leader.jobs.picture import Picture
from slurp_leader.jobs.records import Cancel, Claim, ClaimEntry, JobLimits, JobState, Spec
from slurp_leader.jobs.recovery import CloseClaim, EndGrant, InHand, Park, Sweep, plan
from slurp_leader.jobs.request import Priority
from slurp_leader.store import KeyValue, Put
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Grant
from support.virtual import VirtualClock, failed, fine

MINT = IdMint(VirtualClock(), random.Random(1))
A, B, C = (MINT.mint() for _ in range(3))
GRANT = Grant("session", "old", "nonce", 30.0)


def kv(key: bytes, value: bytes, revision: int) -> KeyValue:
    return KeyValue(key, value, revision, revision, 1)


def queued(job_id: str, revision: int) -> KeyValue:
    spec = Spec(job_id, {}, Priority.NORMAL, JobLimits(), "", "")
    return kv(KEYS.queue + job_id.encode(), spec.to_value(), revision)


def state(job_id: str, revision: int, **fields: int) -> KeyValue:
    return kv(KEYS.state + job_id.encode(), JobState(**fields).to_value(), revision)  # type: ignore[arg-type]


def claimed(revision: int, *entries: ClaimEntry, token: int = 3) -> KeyValue:
    return kv(KEYS.claim(token, 1), Claim("s", entries).to_value(), revision)


def granted(token: int, revision: int = 30, value: bytes = GRANT.to_value()) -> KeyValue:
    return kv(KEYS.grant_of(token), value, revision)


def lives(session: str = "session") -> KeyValue:
    return kv(KEYSPACE.mirrored + f"nodes/old/{session}".encode(), b"{}", 4)


def seen(*kvs: KeyValue) -> Picture:
    picture = Picture(KEYS)
    picture.load(100, kvs)
    return picture


def steps(*kvs: KeyValue, **in_hand: Any) -> list[Any]:
    return list(plan(seen(*kvs), KEYS, InHand(**in_hand)))


RUNS_A = ClaimEntry(A, 5, 1)
RUNS_B = ClaimEntry(B, 6, 1)


def test_when_all_is_well_there_is_nothing_to_do() -> None:
    assert steps() == []
    assert steps(queued(A, 5), state(A, 7, closed=1)) == []


def test_what_an_earlier_term_left_running_is_put_back() -> None:
    (step,) = steps(queued(A, 5), queued(B, 6), claimed(8, RUNS_A, RUNS_B))
    assert isinstance(step, CloseClaim)
    assert (step.view.token, step.entries) == (3, (RUNS_A, RUNS_B))


def test_a_claim_with_nothing_live_in_it_is_closed_too() -> None:
    """Its job ended, is another incarnation by now, or that run was counted already."""
    for others in ((), (queued(A, 9),), (queued(A, 5), state(A, 9, closed=1))):
        (step,) = steps(*others, claimed(8, RUNS_A))
        assert (type(step), step.entries) == (CloseClaim, ())


def test_a_claim_of_this_term_is_left_alone_also_while_its_answer_is_open() -> None:
    own = claimed(8, RUNS_A)
    assert steps(queued(A, 5), own, claims={own.key}) == []
    assert steps(queued(A, 5), own, writing={own.key}) == []


def test_a_claim_of_this_term_that_nobody_knows_is_a_late_copy() -> None:
    (step,) = steps(queued(A, 5), claimed(8, RUNS_A), claims={b"another"})
    assert isinstance(step, CloseClaim)


def test_a_claim_with_a_job_that_is_written_about_waits() -> None:
    assert steps(queued(A, 5), queued(B, 6), claimed(8, RUNS_A, RUNS_B), jobs={B}) == []


def test_two_claims_of_one_job_are_closed_one_after_the_other() -> None:
    """A transaction takes each key once, and what the second is to count depends on the first."""
    (step,) = steps(queued(A, 5), claimed(8, RUNS_A), claimed(9, ClaimEntry(A, 5, 2), token=4))
    assert isinstance(step, CloseClaim)
    assert step.view.revision == 8


def test_a_job_that_cannot_be_read_holds_back_no_others() -> None:
    (close, park) = steps(queued(A, 5), queued(B, 6), kv(KEYS.state + A.encode(), b"{", 7), claimed(8, RUNS_A, RUNS_B))
    assert close.entries == (RUNS_B,)
    assert isinstance(park, Park)


# ---------------------------------------------------------------- grants


def test_what_is_under_a_grant_is_its_owners() -> None:
    assert steps(queued(A, 5), claimed(8, RUNS_A), granted(3), lives()) == []


@pytest.mark.parametrize(
    ("kvs", "honoured_s", "why"),
    [
        ((granted(3), lives("another")), 0.0, "its owner is gone"),
        ((granted(3), lives()), 30.0, "its time is up"),
        ((granted(3, value=b"{"), lives()), 0.0, "it cannot be read"),
    ],
)
def test_a_grant_that_is_over_is_ended_first_and_its_claims_only_when_it_is_gone(
    kvs: tuple[KeyValue, ...], honoured_s: float, why: str
) -> None:
    (step,) = steps(queued(A, 5), claimed(8, RUNS_A), *kvs, honoured_s={(3, 30): honoured_s})
    assert isinstance(step, EndGrant)
    assert (step.token, step.why) == (3, why)
    assert steps(*kvs, honoured_s={(3, 30): honoured_s}, writing={KEYS.grant_of(3)}) == []


def test_the_time_of_a_grant_counts_for_that_grant_alone() -> None:
    assert steps(granted(3), lives(), honoured_s={(3, 29): 99.0, (2, 30): 99.0, (3, 30): 29.9}) == []


# ---------------------------------------------------------------- leftovers, and what cannot be read


def test_what_belongs_to_jobs_that_are_gone_is_swept_up() -> None:
    cancel = kv(KEYS.cancel + A.encode(), Cancel(5, "", "").to_value(), 7)
    assert steps(cancel, state(B, 8)) == [Sweep(cancel.key, 7), Sweep(KEYS.state + B.encode(), 8)]
    assert steps(cancel, state(B, 8), writing={cancel.key, KEYS.state + B.encode()}) == []
    assert steps(cancel, queued(A, 5)) == []


def test_a_record_that_cannot_be_read_is_noted_once_and_what_belongs_to_it_is_kept() -> None:
    bad = kv(KEYS.queue + A.encode(), b"{", 5)
    cancel = kv(KEYS.cancel + A.encode(), Cancel(5, "", "").to_value(), 7)
    (park,) = steps(bad, cancel)
    assert (type(park), park.key) == (Park, bad.key)
    note = kv(KEYS.note_of(bad.key), b"{}", 9)
    assert steps(bad, cancel, note) == []
    assert steps(bad, writing={note.key}) == []
    assert steps(queued(A, 5), note) == [Sweep(note.key, 9)]
    assert steps(queued(A, 5), note, writing={note.key}) == []


RECORDS = st.lists(
    st.sampled_from(
        [
            queued(A, 5), queued(B, 6), claimed(8, RUNS_A, RUNS_B), claimed(9, RUNS_A, token=4), granted(3), granted(9),
            granted(4, value=b"{"), lives(), state(A, 7, closed=1), state(C, 7), kv(KEYS.queue + C.encode(), b"{", 5),
            kv(KEYS.run + b"no token", b"{}", 5), kv(KEYS.cancel + C.encode(), Cancel(5, "", "").to_value(), 7),
            kv(KEYS.parked + b"queue/x", b"{}", 9),
        ]
    ),
    unique_by=lambda record: record.key,
)  # fmt: skip


@settings(deadline=None)
@given(kvs=RECORDS, honoured_s=st.sampled_from([0.0, 31.0]))
def test_a_plan_changes_nothing_and_what_is_in_hand_is_not_planned_again(
    kvs: list[KeyValue], honoured_s: float
) -> None:
    picture = seen(*kvs)
    ages = {(token, view.revision): honoured_s for token, view in picture.grants.items()}
    first = plan(picture, KEYS, InHand(honoured_s=ages))
    assert plan(picture, KEYS, InHand(honoured_s=ages)) == first
    writing = set()
    for step in first:
        match step:
            case EndGrant() | CloseClaim():
                writing.add(step.view.key)
            case Sweep():
                writing.add(step.key)
            case Park():
                writing.add(KEYS.note_of(step.key))
    assert len(writing) == len(first)
    jobs = {entry.job_id for step in first if isinstance(step, CloseClaim) for entry in step.entries}
    assert plan(picture, KEYS, InHand(writing=writing, jobs=jobs, honoured_s=ages)) == ()


# ---------------------------------------------------------------- how a leader goes about it


def left_running(rig: Rig, jobs: int) -> list[str]:
    """So many jobs are in one claim of a term that is over."""
    ids = [rig.client.submit() for _ in range(jobs)]
    revisions = {job_id: rig.kv(KEYS.queue + job_id.encode()) for job_id in ids}
    entries = tuple(ClaimEntry(job_id, kv.mod_revision, 1) for job_id, kv in revisions.items() if kv is not None)
    rig.world.apply(Put(KEYS.claim(1, 1), Claim("gone", entries).to_value()))
    return ids


def test_a_close_that_was_refused_is_tried_again_soon() -> None:
    """A job changed while it was under way, and the transaction compares that. Nobody waits for the next look."""
    rig = Rig()
    (job_id,) = left_running(rig, 1)
    rig.world.order(fine(request_s=0.3), deletes(KEYS.run), times=1)
    rig.node.lead()
    rig.settle(0.1)
    rig.world.apply(Put(KEYS.state + job_id.encode(), JobState(errors=({"code": "x"},)).to_value()))
    rig.settle(0.5)
    assert [note.fields["reason"] for note in rig.node.notes(LogEvent.COMMIT_REFUSED)] == ["changed"]
    after = rig.state(job_id)
    assert after is not None
    assert (after.crashes, after.errors) == (1, ({"code": "x"},))
    assert [run.run for run in rig.node.runs_of(job_id)] == [2]


def test_a_claim_that_no_transaction_holds_is_closed_part_after_part_without_a_pause() -> None:
    rig = Rig()
    ids = left_running(rig, 6)
    rig.world.order(failed(RequestTooLargeError()), puts(KEYS.state), times=2)
    rig.node.lead()
    rig.settle(1)
    assert rig.keys(KEYS.claim(1, 1)) == []
    states = [rig.state(job_id) for job_id in ids]
    assert [state.crashes for state in states if state is not None] == [1] * 6
    assert len({state.op for state in states if state is not None}) == 6


def test_a_close_that_is_refused_for_ever_is_tried_ever_more_slowly() -> None:
    rig = Rig()
    left_running(rig, 1)
    rig.world.order(failed(RequestTooLargeError()), deletes(KEYS.run))
    rig.node.lead()
    rig.settle(60)
    tries = len(rig.node.notes(LogEvent.COMMIT_REFUSED))
    assert 30 <= tries <= 40
    rig.settle(3000)  # so many that twice as long each time would be more than a number holds
    assert len(rig.node.notes(LogEvent.COMMIT_REFUSED)) - tries == pytest.approx(1500, abs=10)
