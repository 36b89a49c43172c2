"""The picture: per key the newer revision wins, whoever brought it first."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rig import KEYS
from slurp_leader.jobs.ids import IdMint
from slurp_leader.jobs.picking.control import NOTHING_ORDERED, QueueControl
from slurp_leader.jobs.picture import Picture
from slurp_leader.jobs.records import (
    Cancel,
    Claim,
    ClaimEntry,
    JobLimits,
    JobState,
    JobStatus,
    Spec,
    closed_value,
    floor_value,
)
from slurp_leader.jobs.request import Priority
from slurp_leader.store import Event, EventKind, KeyValue
from support.virtual import VirtualClock

MINT = IdMint(VirtualClock(), random.Random(1))
IDS = [MINT.mint() for _ in range(3)]
A, B, _ = IDS
TODAY = "2026-01-01T00:00:00.000Z"


def kv(key: bytes, value: bytes, revision: int) -> KeyValue:
    return KeyValue(key, value, revision, revision, 1)


def queued(job_id: str, revision: int, run_at: str | None = None) -> KeyValue:
    spec = Spec(job_id, {}, Priority.NORMAL, JobLimits(), "", "", run_at)
    return kv(KEYS.queue + job_id.encode(), spec.to_value(), revision)


def state(job_id: str, revision: int, **fields: int) -> KeyValue:
    return kv(KEYS.state + job_id.encode(), JobState(**fields, op=str(revision)).to_value(), revision)  # type: ignore[arg-type]


def claimed(revision: int, *entries: ClaimEntry, token: int = 1, number: int = 1) -> KeyValue:
    return kv(KEYS.claim(token, number), Claim("s", entries).to_value(), revision)


def put(record: KeyValue) -> Event:
    return Event(EventKind.PUT, record)


def deleted(key: bytes, revision: int) -> Event:
    return Event(EventKind.DELETE, KeyValue(key, b"", 0, revision, 0))


@pytest.fixture
def picture() -> Picture:
    return Picture(KEYS)


def test_a_snapshot_replaces_everything(picture: Picture) -> None:
    picture.load(5, [queued(A, 2), state(A, 3)])
    picture.load(9, [queued(B, 7)])
    assert set(picture.jobs) == {B}
    assert picture.states == {}
    assert picture.revision == 9
    assert {A, B} <= picture.touched


def test_a_snapshot_keeps_what_this_node_wrote_after_it(picture: Picture) -> None:
    picture.load(5, [queued(A, 2), queued(B, 3)])
    picture.put(KEYS.state + A.encode(), state(A, 8, closed=1).value, 8)
    picture.delete(KEYS.queue + B.encode(), 9)
    picture.load(6, [queued(A, 2), queued(B, 3)])
    assert set(picture.jobs) == {A}
    assert picture.state_of(A).revision == 8


def test_a_reload_forgets_a_closed_door_and_orders_that_are_gone(picture: Picture) -> None:
    """What was deleted while the watch was away is told by no event: only by not being there."""
    ordered = QueueControl(op="1")
    picture.load(5, [kv(KEYS.closed, closed_value("full", "me"), 3), kv(KEYS.queue_control, ordered.to_value(), 4)])
    assert (picture.closed_revision, picture.control) == (3, ordered)
    picture.load(9, [])
    assert (picture.closed, picture.closed_revision) == (None, 0)
    assert (picture.control, picture.control_revision) == (NOTHING_ORDERED, 0)


def test_the_watch_does_not_take_back_what_this_node_wrote_ahead_of_it(picture: Picture) -> None:
    picture.change(3, [put(queued(A, 2)), put(state(A, 3, closed=1))])
    picture.put(KEYS.state + A.encode(), state(A, 9, closed=2).value, 9)
    picture.change(5, [put(state(A, 5, closed=7))])
    assert picture.state_of(A).state.closed == 2


def test_a_record_this_node_deleted_ahead_of_the_watch_does_not_come_back(picture: Picture) -> None:
    picture.delete(KEYS.queue + A.encode(), 9)
    picture.change(4, [put(queued(A, 4))])
    assert picture.jobs == {}
    picture.progress(9)
    picture.change(12, [put(queued(A, 12))])
    assert set(picture.jobs) == {A}


def test_an_own_write_that_is_told_after_an_own_later_delete_does_not_come_back(picture: Picture) -> None:
    """Several transactions are in flight; their answers come in any order."""
    picture.delete(KEYS.state + A.encode(), 9)
    picture.put(KEYS.state + A.encode(), state(A, 5, closed=1).value, 5)
    assert picture.states == {}


def test_the_closed_door_is_the_newest_word_about_it(picture: Picture) -> None:
    value = closed_value("full", "me")
    picture.put(KEYS.closed, value, 50)
    picture.change(40, [put(kv(KEYS.closed, value, 30)), deleted(KEYS.closed, 40)])
    assert picture.closed_revision == 50
    picture.delete(KEYS.closed, 60)
    picture.change(50, [put(kv(KEYS.closed, value, 50))])
    assert picture.closed_revision == 0


def test_the_floor_is_the_newest_and_an_unreadable_one_is_none(picture: Picture) -> None:
    picture.change(2, [put(kv(KEYS.floor, floor_value(A), 2))])
    picture.put(KEYS.floor, floor_value(B), 7)
    picture.change(3, [put(kv(KEYS.floor, floor_value(A), 3))])
    assert (picture.floor, picture.floor_revision) == (B, 7)
    picture.change(9, [put(kv(KEYS.floor, b"?", 9))])
    assert picture.floor is None
    assert KEYS.floor in picture.parked
    assert picture.floor_revision == 9


def test_it_is_complete_up_to_what_was_seen_and_not_up_to_what_was_written(picture: Picture) -> None:
    picture.load(5, [])
    picture.put(KEYS.state + A.encode(), state(A, 9).value, 9)
    assert picture.revision == 5
    picture.progress(9)
    assert picture.revision == 9
    picture.progress(4)
    assert picture.revision == 9


def test_an_entry_is_live_for_its_incarnation_and_above_the_last_closed_run(picture: Picture) -> None:
    picture.load(5, [queued(A, 2), claimed(5, ClaimEntry(A, 2, 3))])
    view = picture.claims[KEYS.claim(1, 1)]
    assert picture.live_entries(view) == [ClaimEntry(A, 2, 3)]
    assert picture.status(picture.jobs[A], TODAY) is JobStatus.RUNNING
    picture.put(KEYS.state + A.encode(), state(A, 6, closed=3).value, 6)
    assert picture.live_entries(view) == []
    assert picture.live_claims(picture.jobs[A]) == []
    picture.change(8, [deleted(KEYS.queue + A.encode(), 7), put(queued(A, 8))])
    assert picture.live_entries(view) == []


def test_a_claim_that_goes_touches_its_jobs(picture: Picture) -> None:
    picture.load(5, [queued(A, 2), claimed(5, ClaimEntry(A, 2, 1))])
    picture.touched.clear()
    picture.change(6, [deleted(KEYS.claim(1, 1), 6)])
    assert picture.touched == {A}
    assert picture.live_claims(picture.jobs[A]) == []


def test_a_wish_is_for_one_incarnation(picture: Picture) -> None:
    wish = kv(KEYS.cancel + A.encode(), Cancel(2, "stop", "me").to_value(), 3)
    picture.load(5, [queued(A, 2), wish])
    assert picture.wanted_cancel(picture.jobs[A]) == Cancel(2, "stop", "me")
    picture.change(8, [deleted(KEYS.queue + A.encode(), 7), put(queued(A, 8))])
    assert picture.wanted_cancel(picture.jobs[A]) is None


def test_a_date_makes_a_job_scheduled_until_it_has_come(picture: Picture) -> None:
    picture.load(5, [queued(A, 2, "2026-01-02T00:00:00.000Z")])
    assert picture.status(picture.jobs[A], TODAY) is JobStatus.SCHEDULED
    assert picture.status(picture.jobs[A], "2026-01-03T00:00:00.000Z") is JobStatus.PENDING


def test_bytes_are_those_of_the_queue_records(picture: Picture) -> None:
    records = [queued(A, 2), queued(B, 3)]
    picture.load(5, records)
    assert picture.size == sum(len(record.value) for record in records)
    picture.delete(KEYS.queue + A.encode(), 6)
    picture.delete(KEYS.queue + B.encode(), 7)
    assert picture.size == 0


def test_a_parked_record_is_read_once_it_is_repaired(picture: Picture) -> None:
    picture.change(2, [put(kv(KEYS.queue + A.encode(), b"?", 2))])
    assert picture.jobs == {}
    assert picture.is_parked(A)
    picture.change(3, [put(queued(A, 3))])
    assert set(picture.jobs) == {A}
    assert not picture.is_parked(A)
    assert picture.parked == {}


def test_a_claim_under_a_key_without_a_token_is_parked(picture: Picture) -> None:
    for name in (b"x", b"-1", b"9" * 5000 + b"-1"):
        picture.change(2, [put(kv(KEYS.run + name, Claim("s", ()).to_value(), 2))])
        assert KEYS.run + name in picture.parked
    assert picture.claims == {}


changes = st.lists(
    st.tuples(st.sampled_from(IDS), st.sampled_from(["queue", "state"]), st.booleans(), st.booleans()), max_size=12
)


@settings(deadline=None)
@given(changes, st.randoms(use_true_random=False))
def test_echoes_ahead_of_the_watch_lead_to_the_same_picture_as_the_watch_alone(
    wanted: list[tuple[str, str, bool, bool]], chance: random.Random
) -> None:
    """Whatever this node writes is told twice, once at commit and once by watch, in this order."""
    events, own = [], []
    for revision, (job_id, kind, is_put, is_own) in enumerate(wanted, start=2):
        record = queued(job_id, revision) if kind == "queue" else state(job_id, revision, closed=revision)
        event = put(record) if is_put else deleted(record.key, revision)
        events.append(event)
        if is_own:
            own.append(len(events) - 1)
    plain, hasty = Picture(KEYS), Picture(KEYS)
    told: set[int] = set()
    for index, event in enumerate(events):
        for ahead in [each for each in own if each >= index and each not in told and chance.random() < 0.5]:
            if told and ahead < max(told):
                continue  # a node's own commits are told in order
            told.add(ahead)
            early = events[ahead]
            if early.kind is EventKind.PUT:
                hasty.put(early.kv.key, early.kv.value, early.kv.mod_revision)
            else:
                hasty.delete(early.kv.key, early.kv.mod_revision)
        for picture in (plain, hasty):
            picture.change(event.kv.mod_revision, [event])
    assert {job_id: job.revision for job_id, job in hasty.jobs.items()} == {
        job_id: job.revision for job_id, job in plain.jobs.items()
    }
    assert hasty.states == plain.states
    assert hasty.size == plain.size
