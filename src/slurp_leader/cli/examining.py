"""What `slurp etcd doctor` asks etcd."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TypeVar

from slurp_leader.cli.connection import DeadlineStore
from slurp_leader.cli.diagnosis import Checkup, History
from slurp_leader.clock import Clock, parse_utc
from slurp_leader.errors import RecordError, RevisionCompactedError, StoreError
from slurp_leader.jobs.compaction import LATE_S
from slurp_leader.jobs.quota import StoreLimits
from slurp_leader.settings import SlurpSettings
from slurp_leader.store import Delete, Get, KeyValue, Put, prefix_end
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.maintenance import HasMaintenance, Maintenance, MemberStatus
from slurp_leader.store.records import read_object

R = TypeVar("R")

_WRITES = 5
_RECORDS = 5


def maintenance_of(store: DeadlineStore) -> Maintenance:
    """The operator's side of the store."""

    assert isinstance(store.inner, HasMaintenance)
    return store.inner.maintenance


def examine(store: DeadlineStore, settings: SlurpSettings, clock: Clock) -> Checkup:
    """Ask etcd all there is to ask. What it does not answer is left out; nothing raises but a forbidden login."""

    maintenance, keyspace = maintenance_of(store), Keyspace(settings.node.cluster_id)
    limits, rpc_timeout_s = StoreLimits(settings.etcd.quota_bytes), settings.election.rpc_timeout_s
    answers = _statuses(maintenance, store.remaining_s() / 4)  # a silent member leaves time for the rest
    statuses = [answer for answer in answers.values() if not isinstance(answer, str)]
    if not any(status.leader_member_id for status in statuses):
        return Checkup(limits, answers, rpc_timeout_s=rpc_timeout_s)
    # Asking for the alarms is a write of its own in etcd, and one that some versions choke on: only when there are any.
    alarmed = any(status.alarms for status in statuses)
    alarms = (_told(maintenance.alarms(store.remaining_s())) or ()) if alarmed else ()
    writes_s, write_error = ((), "etcd is full") if alarmed else _time_writes(store, keyspace, clock)
    return Checkup(
        limits,
        answers,
        _told(maintenance.members(store.remaining_s())),
        alarms,
        _told(maintenance.leases(store.remaining_s())),
        _history(store, keyspace, clock),
        writes_s,
        write_error,
        rpc_timeout_s,
    )


def _statuses(maintenance: Maintenance, timeout_s: float) -> dict[str, MemberStatus | str]:

    asked = {endpoint: maintenance.status(endpoint, timeout_s) for endpoint in maintenance.endpoints}
    answers: dict[str, MemberStatus | str] = {}
    for endpoint, future in asked.items():
        try:
            answers[endpoint] = future.result()
        except StoreError as error:
            answers[endpoint] = str(error)
    return answers


def _told(future: Future[R]) -> R | None:

    try:
        return future.result()
    except StoreError:
        return None


def _time_writes(store: DeadlineStore, keyspace: Keyspace, clock: Clock) -> tuple[tuple[float, ...], str]:

    key = keyspace.bulk + f"doctor/{uuid.uuid4().hex}".encode()
    took: list[float] = []
    try:
        for _ in range(_WRITES):
            began = clock.boottime()
            store.call(Put(key, b"{}"), store.remaining_s()).result()
            took.append(clock.boottime() - began)
        store.call(Delete(key), store.remaining_s()).result()
    except StoreError as error:
        return tuple(took), str(error)
    return tuple(took), ""


def _history(store: DeadlineStore, keyspace: Keyspace, clock: Clock) -> History | None:
    """How far back the history reaches. Outcomes and the history of elections say when they were written: if the
    revision of an old one can still be read, nothing has been compacted since."""

    try:
        compact_revision = _compact_revision(store, keyspace)
        old = [(age, revision) for age, revision in _dated(store, keyspace, clock) if age >= LATE_S]
    except StoreError:
        return None
    if not old:
        return History(compact_revision)
    readable = [age for age, revision in old if revision >= compact_revision]
    if readable:
        return History(compact_revision, readable_h=max(readable) / 3600)
    return History(compact_revision, gone_h=min(age for age, _ in old) / 3600)


def _compact_revision(store: DeadlineStore, keyspace: Keyspace) -> int:
    """etcd refuses to read what is compacted, but does not say from where on; a search by halves finds out."""

    nowhere = keyspace.bulk + b"doctor/"

    def can_read(revision: int) -> bool:
        try:
            store.call(Get(nowhere, revision=revision), store.remaining_s()).result()
        except RevisionCompactedError:
            return False
        return True

    newest = store.call(Get(nowhere), store.remaining_s()).result().header.revision
    if can_read(1):
        return 0
    gone, kept = 1, newest
    while gone + 1 < kept:
        middle = (gone + kept) // 2
        gone, kept = (gone, middle) if can_read(middle) else (middle, kept)
    return kept


def _dated(store: DeadlineStore, keyspace: Keyspace, clock: Clock) -> Iterator[tuple[float, int]]:
    """Age in seconds and revision of some old records."""

    now = clock.utcnow()
    for prefix in (keyspace.bulk + b"done/", keyspace.bulk + b"history/"):
        read = Get(prefix, prefix_end(prefix), limit=_RECORDS)
        for kv in store.call(read, store.remaining_s()).result().kvs:
            date = _date_of(kv)
            if date is not None:
                yield (now - parse_utc(date)).total_seconds(), kv.mod_revision


def _date_of(kv: KeyValue) -> str | None:

    try:
        data = read_object(kv.key, kv.value)
        date = str(data.get("finished_at") or data.get("at"))
        parse_utc(date)
    except (RecordError, ValueError):
        return None
    return date
