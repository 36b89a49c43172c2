"""Leases, and what happens to their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from slurp_leader.errors import LeaseExistsError, LeaseNotFoundError, Outcome, RequestMalformedError, StoreError
from slurp_leader.store import (
    Delete,
    EventKind,
    Grant,
    KeepAlive,
    Put,
    Revoke,
    Store,
    Txn,
    WatchEvents,
    WatchNotice,
    lease_of,
    prefix_end,
)
from support.calls import Recorder, do, get, new_lease_id, put

LONG_S = 600
MakeLease = Callable[..., int]


@pytest.fixture
def lease(store: Store) -> Iterator[MakeLease]:
    """Makes leases; those that are left are revoked, so that none expires in the middle of another test."""
    made: list[int] = []

    def make(ttl_s: int = LONG_S) -> int:
        made.append(do(store, Grant(new_lease_id(), ttl_s)).lease_id)
        return made[-1]

    yield make
    for lease_id in made:
        try:
            do(store, Revoke(lease_id))
        except LeaseNotFoundError:
            continue


def test_the_caller_chooses_the_id(store: Store) -> None:
    wanted = new_lease_id()
    granted = do(store, Grant(wanted, LONG_S))
    assert (granted.lease_id, granted.ttl_s) == (wanted, LONG_S)
    do(store, Revoke(wanted))


@pytest.mark.parametrize("asked", [1, 0, -5])
def test_a_short_ttl_is_raised_to_two_seconds(store: Store, asked: int) -> None:
    granted = do(store, Grant(new_lease_id(), asked))
    assert granted.ttl_s == 2
    do(store, Revoke(granted.lease_id))


def test_a_ttl_of_centuries_is_refused(store: Store) -> None:
    with pytest.raises(RequestMalformedError):
        do(store, Grant(new_lease_id(), 9_000_000_001))


def test_a_lease_cannot_be_granted_twice(store: Store, lease: MakeLease) -> None:
    with pytest.raises(LeaseExistsError) as caught:
        do(store, Grant(lease(), LONG_S))
    assert caught.value.outcome is Outcome.NOT_APPLIED


def test_granting_and_renewing_make_no_revision(store: Store, prefix: bytes, lease: MakeLease) -> None:
    before = put(store, prefix + b"a")
    renewed = do(store, KeepAlive(lease()))
    assert (renewed.ttl_s, renewed.header.revision) == (LONG_S, before)


def test_renewing_a_lease_that_is_gone_answers_zero(store: Store) -> None:
    lease_id = new_lease_id()
    answer = do(store, KeepAlive(lease_id))
    assert answer.lease_id == lease_id
    assert answer.ttl_s <= 0


def test_revoking_a_lease_that_is_gone_is_an_error(store: Store) -> None:
    with pytest.raises(LeaseNotFoundError):
        do(store, Revoke(new_lease_id()))


def test_a_put_under_an_unknown_lease_is_refused(store: Store, prefix: bytes) -> None:
    with pytest.raises(LeaseNotFoundError) as caught:
        put(store, prefix + b"a", lease=new_lease_id())
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert get(store, prefix + b"a") is None


def test_a_key_shows_its_lease_and_compares_by_it(store: Store, prefix: bytes, lease: MakeLease) -> None:
    lease_id = lease()
    put(store, prefix + b"a", lease=lease_id)
    kv = get(store, prefix + b"a")
    assert kv is not None
    assert kv.lease == lease_id
    assert do(store, Txn((lease_of(prefix + b"a", lease_id),))).succeeded
    assert not do(store, Txn((lease_of(prefix + b"a", 0),))).succeeded


def test_revoking_deletes_all_keys_of_the_lease_in_one_revision(store: Store, prefix: bytes, lease: MakeLease) -> None:
    lease_id = lease()
    put(store, prefix + b"b", lease=lease_id)
    put(store, prefix + b"a", lease=lease_id)
    before = put(store, prefix + b"free")
    assert do(store, Revoke(lease_id)).header.revision == before + 1
    assert get(store, prefix + b"a") is get(store, prefix + b"b") is None
    assert get(store, prefix + b"free") is not None


def test_revoking_a_lease_without_keys_makes_no_revision(store: Store, prefix: bytes, lease: MakeLease) -> None:
    lease_id = lease()
    before = put(store, prefix + b"a")
    assert do(store, Revoke(lease_id)).header.revision == before


def test_a_put_without_lease_detaches_the_key(store: Store, prefix: bytes, lease: MakeLease) -> None:
    lease_id = lease()
    put(store, prefix + b"a", lease=lease_id)
    put(store, prefix + b"a")
    do(store, Revoke(lease_id))
    assert get(store, prefix + b"a") is not None


def test_a_put_under_another_lease_moves_the_key(store: Store, prefix: bytes, lease: MakeLease) -> None:
    old, new = lease(), lease()
    put(store, prefix + b"a", lease=old)
    put(store, prefix + b"a", lease=new)
    do(store, Revoke(old))
    assert get(store, prefix + b"a") is not None
    do(store, Revoke(new))
    assert get(store, prefix + b"a") is None


def test_a_deleted_key_leaves_its_lease(store: Store, prefix: bytes, lease: MakeLease) -> None:
    lease_id = lease()
    put(store, prefix + b"a", lease=lease_id)
    do(store, Delete(prefix + b"a"))
    put(store, prefix + b"a")
    do(store, Revoke(lease_id))
    assert get(store, prefix + b"a") is not None


def test_an_expired_lease_takes_its_keys_along_and_watches_see_it_as_one_revision(
    store: Store, prefix: bytes, lease: MakeLease
) -> None:
    kept, lost = lease(), lease(2)
    seen: Recorder[WatchNotice] = Recorder()
    for key, owner in ((b"kept", kept), (b"lost 2", lost), (b"lost 1", lost)):
        last = put(store, prefix + key, lease=owner)
    watch = store.watch(prefix, prefix_end(prefix), last + 1, seen)
    notice = seen.until(lambda n: isinstance(n, WatchEvents))
    watch.cancel()
    assert isinstance(notice, WatchEvents)
    assert [(e.kind, e.kv.key, e.kv.mod_revision) for e in notice.events] == [
        (EventKind.DELETE, prefix + b"lost 1", notice.revision),
        (EventKind.DELETE, prefix + b"lost 2", notice.revision),
    ]
    assert get(store, prefix + b"kept") is not None
    assert do(store, KeepAlive(lost)).ttl_s <= 0
    with pytest.raises(StoreError):
        do(store, Put(prefix + b"late", b"", lost))
