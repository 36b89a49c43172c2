"""Orphans: claims that nobody may finish any more. Which those are is decided in `slurp_leader.jobs.recovery`.

Each is closed in one transaction that counts an interruption for every live run in it and deletes the record
(PROTOCOL B); its jobs are then looked at anew. One that no transaction holds is closed in parts, the record last: a run
that was counted is not live any more, so no part is counted twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from slurp_leader.errors import RequestTooLargeError
from slurp_leader.jobs import intents
from slurp_leader.jobs.decisions import after_crash
from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.intent import Settlement, Verdict
from slurp_leader.jobs.intents import Interruption
from slurp_leader.jobs.picture import ClaimView
from slurp_leader.jobs.records import ClaimEntry
from slurp_leader.jobs.recovery import CloseClaim
from slurp_leader.telemetry.events import LogEvent


class Orphans:
    """Closes what earlier terms left running.

    Args:
        desk: Of the term.
        look_again: Told when there is more to close: a part is closed, or (True) a close was refused.
    """

    def __init__(self, desk: Desk, look_again: Callable[[bool, float], None]) -> None:
        self._desk = desk
        self._look_again = look_again
        self.closing: set[bytes] = set()
        """Keys of claims that are being closed."""
        self._most: dict[bytes, int] = {}  # entries at once, of claims whose closing was too large for one transaction

    def close(self, step: CloseClaim, now: float) -> None:
        """Close a claim, as far as one transaction holds."""
        desk, view = self._desk, step.view
        part = step.entries[: self._most.get(view.key, intents.MOST_ENTRIES)]
        op = desk.new_op()
        interrupted = [self._interruption(view, entry, op) for entry in part]
        self.closing.add(view.key)
        desk.busy.update(each.job.job_id for each in interrupted)
        whole = len(part) == len(step.entries)
        settled = partial(self._closed, view, interrupted, whole)
        desk.committer.add(intents.close_claim(desk.keys, view, interrupted, settled, whole=whole), now)

    def _interruption(self, view: ClaimView, entry: ClaimEntry, op: str) -> Interruption:
        before = self._desk.picture.state_of(entry.job_id)
        sole = view.claim.quarantined and len(view.claim.entries) == 1
        after = after_crash(before.state, entry.run, sole_suspect=sole, op=op)
        return Interruption(self._desk.picture.jobs[entry.job_id], before, entry.run, after)

    def _closed(
        self, view: ClaimView, interrupted: list[Interruption], whole: bool, settlement: Settlement, now: float
    ) -> None:
        desk = self._desk
        self.closing.discard(view.key)
        for each in interrupted:
            desk.release(each.job.job_id)
        if settlement.verdict is not Verdict.APPLIED:
            if isinstance(settlement.error, RequestTooLargeError):
                self._most[view.key] = max(1, len(interrupted) // 2)
            desk.refused("close", view.key.decode("ascii", "replace"), settlement)
            self._look_again(True, now)
            return
        for each in interrupted:
            job_id = each.job.job_id
            desk.picture.put(desk.keys.state + job_id.encode(), each.after.to_value(), settlement.revision)
            desk.tally.interrupted += 1
            desk.note(
                logging.WARNING,
                LogEvent.JOB_INTERRUPTED,
                job_id=job_id,
                run=each.run,
                crashes=each.after.crashes,
                under_token=view.token,
            )
        if whole:
            self._most.pop(view.key, None)
            desk.picture.delete(view.key, settlement.revision)
        else:
            self._look_again(False, now)
