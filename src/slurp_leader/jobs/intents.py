"""The transactions about jobs, as intents for the group commit. Exactly PROTOCOL B, A4, A14, A18.

Each builder says what is compared, what is written, and how to tell afterwards, after a refusal, what became of it.
A revision that moved on, an id of ours in a record, a key that is there: such findings stay true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slurp_leader.errors import RecordError
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.intent import HANDED_OVER, Intent, Rank, Settlement, Verdict
from slurp_leader.jobs.picture import ClaimView, Job, StateView
from slurp_leader.jobs.records import (
    Cancel,
    Claim,
    Idempotency,
    JobKeys,
    JobOutcome,
    JobState,
    Spec,
    floor_value,
    read_floor,
)
from slurp_leader.store import (
    Compare,
    CompareOp,
    Delete,
    Get,
    GetResult,
    KeyValue,
    Operation,
    Put,
    Txn,
    mod_revision,
    value_of,
    version_of,
)
from slurp_leader.term import Lent, Term

Settled = Callable[[Settlement, float], None]

MOST_ENTRIES = 62
"""Jobs in one claim: closing it compares two revisions each, the claim, a grant and the fence, 128 in all."""

_AGAIN = Settlement(Verdict.AGAIN)
_CHANGED = Settlement(Verdict.REFUSED, reason="changed")


# ---------------------------------------------------------------- the gates


class TermGate:
    """Lets through what the holder of a term writes, and nothing once the term is over (I2)."""

    definite = True
    patient = True

    def __init__(self, term: Term, keys: JobKeys) -> None:
        self._fence = term.fence()
        self._token = term.token
        self._value = term.value
        self.reads: tuple[Get, ...] = (Get(term.key), Get(keys.grant_of(term.token), keys_only=True))

    def compares(self, intents: Sequence[Intent]) -> tuple[Compare, ...]:
        return self._fence

    def refusal(self, results: Sequence[GetResult]) -> str | None:
        kvs = results[0].kvs
        ours = bool(kvs) and kvs[0].mod_revision == self._token and kvs[0].value == self._value
        if ours:
            return None
        return HANDED_OVER if results[1].kvs else "fenced"


class GrantGate:
    """Lets through what ends the work of a term that was handed over, as long as its grant stands (PROTOCOL C)."""

    definite = True
    patient = True

    def __init__(self, lent: Lent) -> None:
        self._fence = (mod_revision(lent.key, lent.revision), value_of(lent.key, CompareOp.EQUAL, lent.value))
        self._lent = lent
        self.reads: tuple[Get, ...] = (Get(lent.key),)

    def compares(self, intents: Sequence[Intent]) -> tuple[Compare, ...]:
        return self._fence

    def refusal(self, results: Sequence[GetResult]) -> str | None:
        kvs = results[0].kvs
        stands = bool(kvs) and kvs[0].mod_revision == self._lent.revision and kvs[0].value == self._lent.value
        return None if stands else "fenced"


class AdmissionGate:
    """Lets new jobs in while the queue is open, and only with ids above the pruning floor (A4, A9)."""

    definite = False
    patient = False

    def __init__(self, keys: JobKeys) -> None:
        self._keys = keys
        self.reads: tuple[Get, ...] = (Get(keys.closed), Get(keys.floor))
        self.floor = LOWEST
        """The newest floor a refusal has shown."""
        self.closed: KeyValue | None = None
        """The newest record of a closed queue that a refusal has shown."""

    def compares(self, intents: Sequence[Intent]) -> tuple[Compare, ...]:
        smallest = min(intent.subject for intent in intents)
        return (
            version_of(self._keys.closed, 0),
            value_of(self._keys.floor, CompareOp.LESS, floor_value(smallest)),
        )

    def refusal(self, results: Sequence[GetResult]) -> str | None:
        closed, floor = results
        lowest = read_floor(floor.kvs[0].value) if floor.kvs else None
        if lowest is not None:
            self.floor = max(self.floor, lowest)
        if closed.kvs:
            self.closed = closed.kvs[0]
            return "closed"
        if not floor.kvs:
            return "no floor"
        return None if lowest is not None else "bad floor"


# ---------------------------------------------------------------- by submitters


def submit(
    keys: JobKeys,
    gate: AdmissionGate,
    spec: Spec,
    value: bytes,
    idempotency: Idempotency | None,
    settled: Settled,
) -> Intent:
    """Create a job, and its idempotency record if a key was given. Repeating it can never run the job twice (A4).

    `value`: the spec as it is written.
    """
    raw = spec.job_id.encode()
    queue, done = keys.queue + raw, keys.done + raw
    compares: tuple[Compare, ...] = (version_of(queue, 0), version_of(done, 0))
    operations: tuple[Operation, ...] = (Put(queue, value),)
    probes: tuple[Get, ...] = (Get(queue, keys_only=True), Get(done, keys_only=True))
    also: tuple[str, ...] = ()
    if idempotency is not None and spec.idem is not None:
        idem = keys.idem + spec.idem.encode()
        compares = (*compares, version_of(idem, 0))
        operations = (*operations, Put(idem, idempotency.to_value()))
        probes = (*probes, Get(idem))
        also = (idem.decode(),)  # two jobs with one key, sent together, would be refused with all beside them (A5)

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        if found[0].kvs or found[1].kvs:  # ids are ours alone: an earlier send arrived
            revision = found[0].kvs[0].create_revision if found[0].kvs else 0
            return Settlement(Verdict.APPLIED, revision)
        if len(found) == 3 and found[2].kvs:
            return Settlement(Verdict.REFUSED, reason="duplicate", found=found[2].kvs[0])
        if gate.floor >= spec.job_id:
            return Settlement(Verdict.UNKNOWN if in_doubt else Verdict.REFUSED, reason="floor")
        return _AGAIN

    return Intent(spec.job_id, Rank.OUTCOME, compares, operations, settled, probes, judge, also=also)


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a new job takes the place of.

    Attributes:
        idem: The record of their idempotency key, as it was read.
        job_id: The earlier job.
        queue_revision: Its incarnation; 0 when it has ended.
        cancel_revision: Of a wish to cancel it that is there already; 0: there is none.
        is_cancelled: Whether that wish means this incarnation.
    """

    idem: KeyValue
    job_id: str
    queue_revision: int = 0
    cancel_revision: int = 0
    is_cancelled: bool = False


def replace(
    keys: JobKeys, gate: AdmissionGate, spec: Spec, idempotency: Idempotency, replaced: Replaced, settled: Settled
) -> Intent:
    """Create a job in the place of another one: the key moves, and the other is to be cancelled, at one revision (A18).

    Only the leader removes a queue record: it obeys the wish. A wish for the same incarnation that is there already
    does as well.
    """
    raw, old = spec.job_id.encode(), replaced.job_id.encode()
    queue, done, idem, cancel = keys.queue + raw, keys.done + raw, replaced.idem.key, keys.cancel + old
    compares: tuple[Compare, ...] = (
        version_of(queue, 0),
        version_of(done, 0),
        mod_revision(idem, replaced.idem.mod_revision),
        mod_revision(keys.queue + old, replaced.queue_revision),
    )
    operations: tuple[Operation, ...] = (Put(queue, spec.to_value()), Put(idem, idempotency.to_value()))
    if replaced.queue_revision:
        compares = (*compares, mod_revision(cancel, replaced.cancel_revision))
        if not replaced.is_cancelled:
            wish = Cancel(replaced.queue_revision, "replaced", spec.submitted_by)
            operations = (*operations, Put(cancel, wish.to_value()))

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        if found[0].kvs or found[1].kvs:
            revision = found[0].kvs[0].create_revision if found[0].kvs else 0
            return Settlement(Verdict.APPLIED, revision)
        if gate.floor >= spec.job_id:
            return Settlement(Verdict.UNKNOWN if in_doubt else Verdict.REFUSED, reason="floor")
        seen = [answer.kvs[0].mod_revision if answer.kvs else 0 for answer in found[2:]]
        expected = [replaced.idem.mod_revision, replaced.queue_revision, replaced.cancel_revision]
        same = seen == (expected if replaced.queue_revision else [*expected[:2], seen[2]])
        return _AGAIN if same else _CHANGED

    return Intent(
        spec.job_id,
        Rank.OUTCOME,
        compares,
        operations,
        settled,
        (
            Get(queue, keys_only=True),
            Get(done, keys_only=True),
            Get(idem, keys_only=True),
            Get(keys.queue + old, keys_only=True),
            Get(cancel, keys_only=True),
        ),
        judge,
        also=(idem.decode(),),
    )


# ---------------------------------------------------------------- by the leader


def claim(key: bytes, record: Claim, settled: Settled) -> Intent:
    """Take jobs. The record of it has a key that this term uses once."""
    value = record.to_value()

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        if not found[0].kvs:
            return _AGAIN
        kv = found[0].kvs[0]
        return Settlement(Verdict.APPLIED, kv.create_revision) if kv.value == value else _CHANGED

    return Intent(
        key.decode(),
        Rank.CLAIM,
        (version_of(key, 0),),
        (Put(key, value),),
        settled,
        (Get(key),),
        judge,
        items=len(record.entries),
    )


def finish(
    keys: JobKeys,
    job: Job,
    state: StateView,
    outcome: JobOutcome,
    value: bytes,
    extra: tuple[bytes, ...],
    settled: Settled,
    *,
    lendable: bool = False,
) -> Intent:
    """Record the outcome and take the job out of the queue, at one revision; once, whatever is repeated.

    `extra`: further keys of the job to delete with it, such as a wish to cancel. `lendable`: it is the end of a run.
    """
    raw = job.job_id.encode()
    queue, state_key, done = keys.queue + raw, keys.state + raw, keys.done + raw
    deletes = (queue, state_key, *extra) if state.revision else (queue, *extra)

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        if found[2].kvs:
            return _applied_if(_op_of_outcome(found[2]) == outcome.op, found[2])
        return _judge_revisions(job, state, found)

    return Intent(
        job.job_id,
        Rank.OUTCOME,
        (mod_revision(queue, job.revision), mod_revision(state_key, state.revision)),
        (Put(done, value), *(Delete(key) for key in deletes)),
        settled,
        (Get(queue, keys_only=True), Get(state_key, keys_only=True), Get(done)),
        judge,
        lendable=lendable,
    )


def put_state(
    keys: JobKeys, job: Job, before: StateView, after: JobState, settled: Settled, checkpoint: bytes | None = None
) -> Intent:
    """Record that a job goes on: a failed attempt, or an interruption that was nobody's fault. `checkpoint`: the record
    of one that was not written yet."""
    raw = job.job_id.encode()
    queue, state_key = keys.queue + raw, keys.state + raw

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        if _op_of_state(found[1]) == after.op:
            return _applied_if(True, found[1])
        return _judge_revisions(job, before, found)

    return Intent(
        job.job_id,
        Rank.OUTCOME,
        (mod_revision(queue, job.revision), mod_revision(state_key, before.revision)),
        (Put(state_key, after.to_value()), *(() if checkpoint is None else (Put(keys.checkpoint + raw, checkpoint),))),
        settled,
        (Get(queue, keys_only=True), Get(state_key)),
        judge,
        lendable=True,
    )


def _op_of_state(found: GetResult) -> str | None:
    """Id of the write that made the state record; None when there is none, or none that can be read."""
    try:
        return JobState.from_value(found.kvs[0].key, found.kvs[0].value).op if found.kvs else None
    except RecordError:
        return None


def _op_of_outcome(found: GetResult) -> str | None:
    try:
        return JobOutcome.from_value(found.kvs[0].key, found.kvs[0].value).op if found.kvs else None
    except RecordError:
        return None


def _applied_if(ours: bool, found: GetResult) -> Settlement:
    return Settlement(Verdict.APPLIED, found.kvs[0].mod_revision) if ours else _CHANGED


def _judge_revisions(job: Job, state: StateView, found: Sequence[GetResult]) -> Settlement:
    queue_now = found[0].kvs[0].mod_revision if found[0].kvs else 0
    state_now = found[1].kvs[0].mod_revision if found[1].kvs else 0
    return _AGAIN if (queue_now, state_now) == (job.revision, state.revision) else _CHANGED


@dataclass(frozen=True, slots=True)
class Interruption:
    """A live run of an orphaned claim, and the state that its end is recorded with."""

    job: Job
    before: StateView
    run: int
    after: JobState


def close_claim(
    keys: JobKeys, view: ClaimView, interrupted: Sequence[Interruption], settled: Settled, *, whole: bool = True
) -> Intent:
    """End a claim that nobody may finish: its live runs are interruptions, counted once whatever is repeated.

    Not while a grant of that term exists: then its old leader may still finish them (PROTOCOL C). `whole`: nothing of
    the claim is left afterwards, so its record is deleted.
    """
    grant = keys.grant_of(view.token)
    compares: list[Compare] = [mod_revision(view.key, view.revision), version_of(grant, 0)]
    operations: list[Operation] = []
    probes = [Get(view.key, keys_only=True)]
    for each in interrupted:
        raw = each.job.job_id.encode()
        compares += (
            mod_revision(keys.queue + raw, each.job.revision),
            mod_revision(keys.state + raw, each.before.revision),
        )
        operations.append(Put(keys.state + raw, each.after.to_value()))
    if interrupted:
        probes.append(Get(keys.state + interrupted[0].job.job_id.encode()))
    if whole:
        operations.append(Delete(view.key))

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        if interrupted:
            return _applied_if(_op_of_state(found[1]) == interrupted[0].after.op, found[1])
        return Settlement(Verdict.APPLIED, found[0].header.revision) if not found[0].kvs else _CHANGED

    return Intent(
        view.key.decode("ascii", "replace"),
        Rank.OUTCOME,
        tuple(compares),
        tuple(operations),
        settled,
        tuple(probes),
        judge,
        items=len(interrupted),
        alone=bool(interrupted),
    )


def drop(key: bytes, revision: int, settled: Settled, *, lendable: bool = False) -> Intent:
    """Delete a record that has served its purpose, if it is still the same. `lendable`: it belongs to one term."""

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        if not found[0].kvs:
            return Settlement(Verdict.APPLIED, found[0].header.revision)
        return _AGAIN if found[0].kvs[0].mod_revision == revision else _CHANGED

    return Intent(
        key.decode("ascii", "replace"),
        Rank.UPKEEP,
        (mod_revision(key, revision),),
        (Delete(key),),
        settled,
        (Get(key, keys_only=True),),
        judge,
        lendable=lendable,
    )


def sweep_checkpoint(keys: JobKeys, job_id: str, revision: int, settled: Settled) -> Intent:
    """Delete the checkpoint of a job that is gone. By an operator the job may be there again: that is compared too."""
    raw = job_id.encode()
    key, queue = keys.checkpoint + raw, keys.queue + raw

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        left, again = found
        if not left.kvs:
            return Settlement(Verdict.APPLIED, left.header.revision)
        return _AGAIN if left.kvs[0].mod_revision == revision and not again.kvs else _CHANGED

    return Intent(
        key.decode(),
        Rank.UPKEEP,
        (mod_revision(key, revision), version_of(queue, 0)),
        (Delete(key),),
        settled,
        (Get(key, keys_only=True), Get(queue, keys_only=True)),
        judge,
        also=(job_id,),  # never beside a checkpoint that it writes when it is there again
    )


def create(key: bytes, value: bytes, settled: Settled) -> Intent:
    """Write a record if there is none. If there is another one, the settlement carries it in `found`."""

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        if not found[0].kvs:
            return _AGAIN
        kv = found[0].kvs[0]
        if kv.value == value:
            return Settlement(Verdict.APPLIED, kv.mod_revision)
        return Settlement(Verdict.REFUSED, reason="exists", found=kv)

    return Intent(
        key.decode("ascii", "replace"),
        Rank.UPKEEP,
        (version_of(key, 0),),
        (Put(key, value),),
        settled,
        (Get(key),),
        judge,
    )


def rewrite(key: bytes, value: bytes, revision: int, settled: Settled) -> Intent:
    """Write a record anew, if it is still the same."""

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        kv = found[0].kvs[0] if found[0].kvs else None
        if kv is not None and kv.mod_revision == revision:
            return _AGAIN
        return Settlement(Verdict.APPLIED, kv.mod_revision) if kv is not None and kv.value == value else _CHANGED

    return Intent(
        key.decode("ascii", "replace"),
        Rank.UPKEEP,
        (mod_revision(key, revision),),
        (Put(key, value),),
        settled,
        (Get(key),),
        judge,
    )


def progress(keys: JobKeys, job: Job, value: bytes, settled: Settled) -> Intent:
    """Write how far a running job is; refused once the job has ended, so that nothing is left behind."""
    raw = job.job_id.encode()
    queue = keys.queue + raw

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        there = bool(found[0].kvs) and found[0].kvs[0].mod_revision == job.revision
        return _AGAIN if there else _CHANGED

    return Intent(
        job.job_id,  # never beside the outcome, which deletes this very key
        Rank.PROGRESS,
        (mod_revision(queue, job.revision),),
        (Put(keys.progress + raw, value),),
        settled,
        (Get(queue, keys_only=True),),
        judge,
        lendable=True,
    )


def checkpoint(keys: JobKeys, job: Job, before: StateView, value: bytes, settled: Settled) -> Intent:
    """Write what the next run of a job is to find. The end of every run moves `state/` or `queue/`, which are compared
    as captured at claim (PROTOCOL A3): so one that comes late cannot replace that of a newer run."""
    raw = job.job_id.encode()
    queue, state_key = keys.queue + raw, keys.state + raw

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        return _judge_revisions(job, before, found)  # written twice it is the same

    return Intent(
        job.job_id,  # never beside the end of its run
        Rank.UPKEEP,
        (mod_revision(queue, job.revision), mod_revision(state_key, before.revision)),
        (Put(keys.checkpoint + raw, value),),
        settled,
        (Get(queue, keys_only=True), Get(state_key, keys_only=True)),
        judge,
        lendable=True,
    )


@dataclass(frozen=True, slots=True, order=True)
class Expired:
    """An outcome that is old enough: what deleting it takes. `revision`: of its record."""

    job_id: str
    idem: str | None
    queue_revision: int
    revision: int


def prune(keys: JobKeys, old: Sequence[Expired], floor: str, floor_revision: int, settled: Settled) -> Intent:
    """Delete outcomes that are old enough, with their idempotency records, and raise the floor to `floor` (A4).

    An idempotency record was written with its job, so its revision is the job's incarnation; one that stands for
    another job by now has a newer one and is left alone (A27).
    """
    compares: list[Compare] = [mod_revision(keys.floor, floor_revision)]
    operations: list[Operation] = [Put(keys.floor, floor_value(floor))]
    for each in old:
        done = keys.done + each.job_id.encode()
        compares.append(mod_revision(done, each.revision))
        operations.append(Delete(done))
        if each.idem is not None:
            idem = keys.idem + each.idem.encode()
            operations.append(Txn((mod_revision(idem, each.queue_revision),), (Delete(idem),), ()))

    def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
        kvs = found[0].kvs
        left = any(answer.kvs for answer in found[1:])  # an operator may have purged beside us, to the same floor
        if kvs and kvs[0].value == floor_value(floor) and kvs[0].mod_revision != floor_revision and not left:
            return Settlement(Verdict.APPLIED, kvs[0].mod_revision)
        return _CHANGED  # plan anew: what was there is read again

    return Intent(
        keys.floor.decode(),
        Rank.UPKEEP,
        tuple(compares),
        tuple(operations),
        settled,
        (Get(keys.floor), *(Get(keys.done + each.job_id.encode(), keys_only=True) for each in old)),
        judge,
        items=len(old),
    )
