"""Checkpoints: what a run leaves for the next run of its job.

Its own record, as it is neither the state of a job, which every candidate keeps in memory and every end of a run
compares, nor its progress, which is written over every second. It is read before a run that is not the first, deleted
with the outcome, and written:

* at once, then at most once a second, and less often the larger it is, always the newest;
* in the transaction that records the end of a run, if the newest was not written before. So a failed attempt loses
  nothing, and the crash of a leader the last second or so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from slurp_leader.errors import RecordError
from slurp_leader.jobs import intents
from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.intent import Rank, Settlement, Verdict
from slurp_leader.jobs.records import checkpoint_value, read_checkpoint
from slurp_leader.jobs.run import Phase, Run
from slurp_leader.machine.calls import is_error
from slurp_leader.store import Get
from slurp_leader.telemetry.events import LogEvent

TIMER = "checkpoints"

_EVERY_S = 1.0
_BYTES_PER_S = 16 * 1024


class Checkpoints:
    """The checkpoints of one term.

    Args:
        desk: Of the term.
        recalled: Told when it is known what the runs before this one have left, or, if `Run.is_recalled` still is not
            set, that it could not be read.
    """

    def __init__(self, desk: Desk, recalled: Callable[[Run, float], None]) -> None:
        self._desk = desk
        self._told = recalled

    # ------------------------------------------------------------ before a run

    def recall(self, run: Run) -> None:
        """Find out what the runs before this one have left."""
        run.recalling = True
        key = self._desk.keys.checkpoint + run.job.job_id.encode()
        self._desk.ask(Get(key), partial(self._recalled, run))

    def _recalled(self, run: Run, result: Any, now: float) -> None:
        """No write of an earlier run can come later than this read: the end of that run is recorded, and its writes
        compare the revision which that has moved."""
        run.recalling = False
        if not is_error(result):
            run.is_recalled = True
            for kv in result.kvs:
                run.restored = self._read(run, kv.key, kv.value)
        self._told(run, now)

    def _read(self, run: Run, key: bytes, value: bytes) -> bytes | None:
        try:
            return read_checkpoint(key, value)
        except RecordError as error:  # the job begins anew; nothing else needs the record
            job_id = run.job.job_id
            self._desk.note(logging.ERROR, LogEvent.CHECKPOINT_UNREADABLE, job_id=job_id, reason=str(error))
            return None

    # ------------------------------------------------------------ during it

    def take(self, run: Run, data: bytes, now: float) -> None:
        """The newest one. Write it, as soon as that may be."""
        run.checkpoint = data
        self._write_if_due(run, now)

    def write_due(self, runs: Iterable[Run], now: float) -> None:
        """Write what was held back."""
        for run in runs:
            if run.checkpoint is not None and run.phase is Phase.GIVEN:
                self._write_if_due(run, now)

    def _write_if_due(self, run: Run, now: float) -> None:
        desk, data = self._desk, run.checkpoint
        assert data is not None
        if now < run.checkpoint_due:
            desk.timers.set_no_later(TIMER, run.checkpoint_due)
            return
        run.checkpoint_due = now + pause_s(len(data))
        desk.committer.withdraw(Rank.UPKEEP, run.job.job_id)
        settled = partial(self._written, run, data)
        value = checkpoint_value(run.number, data)
        desk.committer.add(intents.checkpoint(desk.keys, run.job, run.before, value, settled), now)

    def _written(self, run: Run, data: bytes, settlement: Settlement, now: float) -> None:
        """One that was refused goes with the end of its run, or never: then the run is not the job's any more."""
        if run.checkpoint is data and settlement.verdict is Verdict.APPLIED:
            run.checkpoint = None

    def leave_to_the_end(self, run: Run) -> None:
        """The run ends: what waits is not written before, but with it."""
        if run.has_checkpoint:
            self._desk.committer.withdraw(Rank.UPKEEP, run.job.job_id)


def pause_s(size: int) -> float:
    """How long no other checkpoint of the same run is written: etcd keeps each until it is compacted."""
    return max(_EVERY_S, size / _BYTES_PER_S)
