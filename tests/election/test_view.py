"""What a candidate knows of the election: the newest, whichever way it came."""

from __future__ import annotations

from slurp_leader.election.view import View
from slurp_leader.store import Event, EventKind, GetResult, Header, KeyValue
from support.electing import KEYS


def kv(key: bytes, revision: int, value: bytes = b"{}") -> KeyValue:
    return KeyValue(key, value, revision, revision, 1)


def put(key: bytes, revision: int) -> Event:
    return Event(EventKind.PUT, kv(key, revision))


def gone(key: bytes, revision: int) -> Event:
    return Event(EventKind.DELETE, KeyValue(key, b"", 0, revision, 0))


def read(revision: int, *kvs: KeyValue) -> GetResult:
    return GetResult(Header(1, 1, revision, 1), kvs, False, len(kvs))


def test_nothing_is_known_before_anything_was_heard() -> None:
    view = View(KEYS, 0.0)
    assert not view.is_known
    view.learn_read(KEYS.leader, read(4), 1.0)
    assert view.is_known
    assert view.leader is None


def test_an_older_event_does_not_undo_a_newer_one() -> None:
    view = View(KEYS, 0.0)
    view.learn_events([put(KEYS.leader, 9)], 1.0)
    view.learn_events([gone(KEYS.leader, 5)], 2.0)
    assert view.leader is not None
    assert view.leader_revision == 9


def test_an_older_snapshot_does_not_undo_what_was_read_since() -> None:
    view = View(KEYS, 0.0)
    view.learn_read(KEYS.leader, read(9, kv(KEYS.leader, 9)), 1.0)
    view.learn_snapshot(8, [kv(KEYS.epoch, 3, b"7")], 2.0)
    assert view.leader is not None
    assert view.epoch_number == 7


def test_a_snapshot_without_the_key_means_that_it_is_gone() -> None:
    view = View(KEYS, 0.0)
    view.learn_events([put(KEYS.leader, 5)], 1.0)
    view.learn_snapshot(8, [], 2.0)
    assert view.leader is None
    assert view.leader_changed_after(5)


def test_silence_is_measured_from_the_last_change_that_was_seen_and_reading_the_same_again_is_none() -> None:
    view = View(KEYS, 0.0)
    view.learn_events([put(KEYS.leader, 5), put(KEYS.heartbeat, 6)], 1.0)
    view.learn_read(KEYS.heartbeat, read(20, kv(KEYS.heartbeat, 6)), 2.0)
    view.learn_read(KEYS.leader, read(20, kv(KEYS.leader, 5)), 2.0)
    view.learn_events([put(KEYS.epoch, 21)], 3.0)
    assert view.changed_at == 1.0
    view.learn_events([put(KEYS.heartbeat, 22)], 4.0)
    assert view.changed_at == 4.0


def test_an_epoch_that_is_no_number_counts_as_none() -> None:
    view = View(KEYS, 0.0)
    view.learn_events([put(KEYS.epoch, 5)], 1.0)
    assert view.epoch_number == 0
    assert view.epoch_revision == 5
