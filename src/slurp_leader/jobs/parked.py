"""Parked records: those that nobody can read. List them, look at them, and release them.

A parked record stops nothing and is deleted by nobody but an operator (I7). To *release* one is to end that state:

===============  ======================================================================================================
it can be read   because somebody repaired it, or a newer version reads it: the note about it is dropped, and the
                 leader goes on with it
put right        `value` takes its place, if it can be read
deleted          its job, if it is a queue record, ends failed with the code ``parked``, so that whoever waits is told;
                 a state or claim is forgotten, and what it was about is looked at anew; an outcome is gone as by a
                 purge
===============  ======================================================================================================

The pruning floor cannot be deleted: without it, ids that are over could not be told from new ones. Put it right, with
the id of the newest job that has ended, or one that is newer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from slurp_leader.errors import JobNotFoundError, JobParkedError, RecordError, RequestInvalidError
from slurp_leader.jobs.decisions import error_of
from slurp_leader.jobs.ids import is_job_id
from slurp_leader.jobs.picture import Picture
from slurp_leader.jobs.records import JobKeys, JobOutcome, JobStatus, floor_value, read_floor
from slurp_leader.jobs.reports import read_ended, read_picture
from slurp_leader.store import Delete, Get, KeyValue, Operation, Put, Store, Txn, mod_revision, prefix_end, version_of
from slurp_leader.store.pages import read_pages

_SHOWN = 4096
"""Bytes of a record that are shown."""


@dataclass(frozen=True, slots=True)
class ParkedRecord:
    """A record that cannot be read.

    Attributes:
        name: Of the record, below the prefix of the cluster: ``queue/{id}`` ...
        job_id: The job it is about, where its key tells.
        reason: Why it cannot be read.
        size: Bytes of it.
        revision: Of its last write.
        text: Its first 4 KiB, with everything escaped that is not plain ASCII; empty in a list.
    """

    name: str
    job_id: str | None
    reason: str
    size: int
    revision: int
    text: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "job_id": self.job_id,
            "reason": self.reason,
            "size": self.size,
            "revision": self.revision,
            **({"text": self.text} if self.text else {}),
        }


class ReleaseAnswer(StrEnum):
    """What a release came to."""

    READABLE = "readable"
    """It can be read: it is parked no more."""
    PUT_RIGHT = "put_right"
    DELETED = "deleted"


class Parked:
    """The parked records of one cluster. Safe to use from any thread.

    Args:
        store: Where to read.
        keys: Keys of the jobs.
        timeout_s: Deadline of one read.
        write: Brings a transaction to a definite answer.
        new_outcome: Makes the outcome of a job whose request cannot be read: of its id, the error, and the revision of
            the record.
    """

    def __init__(
        self,
        store: Store,
        keys: JobKeys,
        timeout_s: float,
        write: Callable[[Txn, str], bool],
        new_outcome: Callable[[str, dict[str, Any], int], JobOutcome],
    ) -> None:
        self._store = store
        self._keys = keys
        self._timeout_s = timeout_s
        self._write = write
        self._new_outcome = new_outcome

    def list(self) -> list[ParkedRecord]:
        """All of them, by name. Reads everything that leaders mirror, and all outcomes.

        Raises:
            StoreError: The store did not answer.
        """
        found: list[ParkedRecord] = []
        picture = read_picture(self._store, self._keys, self._timeout_s)
        if picture.parked:
            mirrored = self._keys.mirrored
            for page in read_pages(self._store, mirrored, prefix_end(mirrored), timeout_s=self._timeout_s):
                found += (self._told(kv, picture.parked[kv.key]) for kv in page.kvs if kv.key in picture.parked)
        for report, kv in read_ended(self._store, self._keys, self._timeout_s):
            if report.status is JobStatus.PARKED:
                found.append(self._told(kv, str((report.error or {}).get("message", ""))))
        return sorted(found, key=lambda record: record.name)

    def get(self, name: str) -> ParkedRecord:
        """One of them, with what stands in it.

        Raises:
            JobNotFoundError: There is no such record.
            RequestInvalidError: It is not parked, or not a name of a record of jobs.
        """
        kv = self._read(name)
        reason = _why_unreadable(self._keys, kv)
        if not reason:
            raise RequestInvalidError(f"{name} can be read: it is not parked", field="name")
        return self._told(kv, reason, with_text=True)

    def release(self, name: str, *, value: bytes | None = None, delete: bool = False) -> ReleaseAnswer:
        """End the parking of one. What that means is said at the top of `slurp_leader.jobs.parked`.

        Args:
            name: As it is listed.
            value: What takes its place.
            delete: Delete it.

        Raises:
            JobParkedError: It still cannot be read, and neither of the two was given. Nothing was changed.
            JobNotFoundError: There is no such record.
            RequestInvalidError: Both were given, the name is none, or the floor was to be deleted.
            RecordError: `value` cannot be read. Nothing was changed.
            StoreTimeoutError: No answer in time; it may have been done.
        """
        if value is not None and delete:
            raise RequestInvalidError("value: give a value, or delete, not both", field="value")
        while True:
            kv = self._read(name)
            reason = _why_unreadable(self._keys, kv)
            if not reason:
                note = self._keys.note_of(kv.key)
                self._write(Txn((mod_revision(kv.key, kv.mod_revision),), (Delete(note),)), f"the release of {name}")
                return ReleaseAnswer.READABLE
            if value is None and not delete:
                raise JobParkedError(f"{name} still cannot be read: {reason}; repair it, put it right, or delete it")
            txn = self._put_right(kv, value) if value is not None else self._deleting(kv, reason)
            if self._write(txn, f"the release of {name}"):
                return ReleaseAnswer.DELETED if value is None else ReleaseAnswer.PUT_RIGHT
            if value is None and not self._is_there(kv.key):
                return ReleaseAnswer.DELETED  # an answer was lost, or somebody else did it

    # ------------------------------------------------------------ what is written

    def _put_right(self, kv: KeyValue, value: bytes) -> Txn:
        reason = _why_unreadable(self._keys, KeyValue(kv.key, value, 1, 1, 1))
        if reason:
            raise RecordError(f"the value given cannot be read either: {reason}", key=kv.key.decode("ascii", "replace"))
        note = self._keys.note_of(kv.key)
        return Txn((mod_revision(kv.key, kv.mod_revision),), (Put(kv.key, value), Delete(note)))

    def _deleting(self, kv: KeyValue, reason: str) -> Txn:
        keys, key = self._keys, kv.key
        if key == keys.floor:
            raise RequestInvalidError(
                f"{key.decode()}: the pruning floor cannot be deleted; put it right with the id of the newest job that "
                "has ended, in quotes",
                field="delete",
            )
        compares = [mod_revision(key, kv.mod_revision)]
        operations: list[Operation] = [Delete(key)]
        name = key.rpartition(b"/")[2].decode("ascii", "replace")
        if key.startswith(keys.done):
            if is_job_id(name):
                floor = self._store.call(Get(keys.floor), self._timeout_s).result().kvs
                lowest = read_floor(floor[0].value) if floor else None
                if lowest is None:
                    raise RecordError(f"{keys.floor.decode()} has to be put right first", key=keys.floor.decode())
                compares.append(mod_revision(keys.floor, floor[0].mod_revision))
                operations.append(Put(keys.floor, floor_value(max(lowest, name))))
            return Txn(tuple(compares), tuple(operations))
        operations.append(Delete(keys.note_of(key)))
        if key.startswith(keys.queue) and is_job_id(name):
            raw = name.encode()
            error = error_of("parked", f"its record could not be read, and an operator deleted it: {reason}")
            outcome = self._new_outcome(name, error, kv.mod_revision)
            compares.append(version_of(keys.done + raw, 0))
            operations += (
                Put(keys.done + raw, outcome.to_value(0)),
                *(Delete(prefix + raw) for prefix in (keys.state, keys.cancel, keys.progress, keys.checkpoint)),
            )
        return Txn(tuple(compares), tuple(operations))

    # ------------------------------------------------------------ reading

    def _read(self, name: str) -> KeyValue:
        kvs = self._store.call(Get(self._key_of(name)), self._timeout_s).result().kvs
        if not kvs:
            raise JobNotFoundError(f"there is no record {name!r}")
        return kvs[0]

    def _is_there(self, key: bytes) -> bool:
        return bool(self._store.call(Get(key, keys_only=True), self._timeout_s).result().kvs)

    def _key_of(self, name: str) -> bytes:
        keys = self._keys
        kind, _, rest = name.partition("/")
        homes = {
            "queue": keys.queue,
            "state": keys.state,
            "cancel": keys.cancel,
            "run": keys.run,
            "control": keys.control,
            "grant": keys.grant,
            "done": keys.done,
        }
        if kind not in homes or not rest:
            known = ", ".join(homes)
            raise RequestInvalidError(f"{name!r} is not the name of a record: use KIND/ID, of {known}", field="name")
        return homes[kind] + rest.encode("utf-8", "replace")

    def _told(self, kv: KeyValue, reason: str, *, with_text: bool = False) -> ParkedRecord:
        keys = self._keys
        start = keys.done[: -len(b"done/")] if kv.key.startswith(keys.done) else keys.mirrored
        name = kv.key[len(start) :].decode("ascii", "backslashreplace")
        last = name.rpartition("/")[2]
        text = kv.value[:_SHOWN].decode("latin-1").encode("unicode_escape").decode("ascii") if with_text else ""
        return ParkedRecord(name, last if is_job_id(last) else None, reason, len(kv.value), kv.mod_revision, text)


def _why_unreadable(keys: JobKeys, kv: KeyValue) -> str:
    """Why a record cannot be read; empty when it can be."""
    if kv.key.startswith(keys.done):
        try:
            JobOutcome.from_value(kv.key, kv.value)
        except RecordError as error:
            return str(error)
        return ""
    picture = Picture(keys)
    picture.load(kv.mod_revision, (kv,))
    return picture.parked.get(kv.key, "")
