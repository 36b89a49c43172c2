"""Which payloads are orphans, and what a round does about them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.errors import PayloadStoreError
from slurp_leader.payloads import FolderPayloadStore, PayloadEntry, reference_of
from slurp_leader.payloads.collection import GRACE, Collection, Collector, make_round, orphans
from support.calls import PATIENCE_S

NOW = datetime(2026, 1, 10, tzinfo=UTC)
MOMENT = timedelta(seconds=1)


def entry(name: str, age: timedelta | None) -> PayloadEntry:
    return PayloadEntry(name, 1, None if age is None else NOW - age)


def test_an_orphan_is_old_and_nothing_refers_to_it() -> None:
    entries = [
        entry("old", GRACE + MOMENT),
        entry("older", GRACE + 2 * MOMENT),
        entry("referred to", GRACE + MOMENT),
        entry("young", GRACE),
        entry("new", timedelta(0)),
        entry("from the future", -GRACE),
        entry("of unknown age", None),
    ]
    assert orphans(entries, {"referred to"}, NOW) == ("older", "old")


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(-48, 96))), st.sets(st.integers(0, 9)))
def test_nothing_referred_to_nothing_young_and_never_more_than_allowed(
    found: list[tuple[int, int | None]], referenced: set[int]
) -> None:
    entries = [entry(f"{number}", None if hours is None else timedelta(hours=hours)) for number, hours in found]
    gone = orphans(entries, {str(number) for number in referenced}, NOW, most=3)
    assert len(gone) <= 3
    assert not set(gone) & {str(number) for number in referenced}
    old = {str(number) for number, hours in found if hours is not None and hours > 24}
    assert set(gone) <= old


def put_long_ago(store: FolderPayloadStore, path: Path, data: bytes, age: timedelta) -> str:
    reference = store.put(data)
    moment = (NOW - age).timestamp()
    os.utime(path / reference[:2] / reference, (moment, moment))
    return reference


def test_a_round_deletes_the_orphans_of_its_shard_and_nothing_else(tmp_path: Path) -> None:
    store = FolderPayloadStore(tmp_path)
    old = [put_long_ago(store, tmp_path, b"%d" % number, GRACE + MOMENT) for number in range(600)]
    shard = old[0][:2]
    there = [reference for reference in old if reference.startswith(shard)]
    kept = there[-1]
    assert make_round(store, Collection(shard, {kept}, NOW)) == len(there) - 1
    assert [each.reference for each in store.list(shard)] == [kept]
    assert all(store.get(reference) for reference in old if not reference.startswith(shard))


def test_what_is_put_again_after_the_plan_was_made_stays() -> None:
    """The listing was old; the store is asked to look once more at the time, against the date of the plan."""
    asked: list[tuple[str, datetime | None]] = []

    class Store(FolderPayloadStore):
        def list(self, shard: str) -> Iterator[PayloadEntry]:
            yield entry(reference_of(b"x"), 2 * GRACE)

        def delete(self, reference: str, *, untouched_since: datetime | None = None) -> bool:
            asked.append((reference, untouched_since))
            return False

    assert make_round(Store("/nowhere"), Collection("00", frozenset(), NOW)) == 0
    assert asked == [(reference_of(b"x"), NOW - GRACE)]


def test_a_store_that_fails_ends_the_round_and_not_the_collector(tmp_path: Path) -> None:
    listed = threading.Semaphore(0)

    class Store(FolderPayloadStore):
        def list(self, shard: str) -> Iterator[PayloadEntry]:
            listed.release()
            raise PayloadStoreError("away")

    collector = Collector(Store(tmp_path))
    collector.start()
    for _ in range(2):
        collector.collect(Collection("00", frozenset(), NOW))
        assert listed.acquire(timeout=PATIENCE_S)
    assert collector.stop()
    assert collector.stop()


def test_while_a_round_is_under_way_no_more_than_one_waits(tmp_path: Path) -> None:
    begun, go_on, shards = threading.Semaphore(0), threading.Semaphore(0), list[str]()

    class Store(FolderPayloadStore):
        def list(self, shard: str) -> Iterator[PayloadEntry]:
            shards.append(shard)
            begun.release()
            assert go_on.acquire(timeout=PATIENCE_S)
            return iter(())

    collector = Collector(Store(tmp_path))
    collector.start()
    collector.collect(Collection("00", frozenset(), NOW))
    assert begun.acquire(timeout=PATIENCE_S)
    for shard in ("01", "02", "03"):
        collector.collect(Collection(shard, frozenset(), NOW))
    go_on.release(2)
    assert begun.acquire(timeout=PATIENCE_S)
    assert collector.stop()
    assert shards == ["00", "01"]
