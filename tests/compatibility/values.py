"""One of each kind of record, with every field set to something that is not its default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from slurp_leader.election.history.entries import ActionRecord, HistoryRecord
from slurp_leader.election.operator import Forced, OperatorRecord
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.eligible import Cause, Circumstances, Hindrance, Standing, Verdict
from slurp_leader.election.ranking.scoring import Score, ScoreInputs, Weights
from slurp_leader.election.records import Identity, LeaderRecord, epoch_value, heartbeat_value, node_value, read_epoch
from slurp_leader.election.transfer import AckRecord, Stage, TransferRecord
from slurp_leader.failover import verification
from slurp_leader.failover.manifest import Manifest, ManifestReason
from slurp_leader.failover.verification import Verification, read_check
from slurp_leader.jobs.inventory import Stock
from slurp_leader.jobs.records import (
    Cancel,
    Claim,
    ClaimEntry,
    Idempotency,
    JobLimits,
    JobOutcome,
    JobState,
    JobStatus,
    Spec,
    closed_value,
    floor_value,
    parked_value,
    progress_value,
    read_floor,
)
from slurp_leader.jobs.request import Priority
from slurp_leader.orders import Order
from slurp_leader.periodic.records import claim_value, read_due
from slurp_leader.store import KeyValue
from slurp_leader.store.records import read_object
from slurp_leader.term import Grant, Term
from support.virtual import VirtualClock

PREFIX = "/slurp/v1/default/"
JOB = "019b76da-a800-7123-8abc-0123456789ab"
SESSION, OTHER, NONCE = "5e5510", "0f0f0f", "ab" * 16
AT = "2026-01-01T12:00:00.000Z"
OPS = Order("ops", "maintenance", AT)
DUE = datetime(2026, 1, 1, 12, tzinfo=UTC)

INPUTS = ScoreInputs(("project_manager",), 0.5, 0.25, 0.75, 600.5, 0.002, 3, 3600.5)
CANDIDATE = Candidate(
    "b", OTHER, 4711, 15, "b:8080", "0.1.0", "disk full", False, INPUTS, ("project_manager",), 2, True
)
ORDERS = OperatorRecord(
    frozen=OPS,
    pinned_to="b",
    pinned=OPS,
    blocked={"c": OPS},
    oldest_version="0.1",
    versions=OPS,
    forced=Forced(7, "b", SESSION, OPS),
)
STANDING = Standing(
    CANDIDATE,
    Score(0.5, {"capability": 0.4, "uptime": 0.5}),
    Verdict((Hindrance(Cause.BLOCKED, "it is blocked"),), (Hindrance(Cause.UNFIT, "it is not fit: disk full"),)),
    None,
)
RULES = Circumstances.of([CANDIDATE], ORDERS, requires=("project_manager",), min_nodes=2, epoch=7)
HISTORY = HistoryRecord(
    8, "a", SESSION, "elected", AT, 1.5, 0.5, "c", "ops", "upgrade", (STANDING,), 1, RULES,
    Weights(0.2, 0.2, 0.2, 0.2, 0.2), rank_wait_s=2.5, token=9,
)  # fmt: skip
WISH = TransferRecord(Stage.WISHED, 9, "w1", "b", "ops", "upgrade", steps_down=True)
OFFER = TransferRecord(Stage.OFFERED, 9, "w1", "b", "ops", "upgrade", OTHER, "b", NONCE, steps_down=True)
SPEC = Spec(
    JOB, {"file_path": "src/main.py", "role": "developer"}, Priority.HIGH, JobLimits(60.0, 5, 4, 2.0, 30.0, 0.1),
    AT, "a", AT, "0123abcd", "00-trace",
)  # fmt: skip
STATE = JobState(3, 2, 1, 1, 1, AT, ({"code": "error", "message": "boom"},), "op1")
CLAIM = Claim(SESSION, (ClaimEntry(JOB, 12, 3),), True, "a", AT)
COMPLETED = JobOutcome(
    JOB, JobStatus.COMPLETED, "op2", 9, 3, 12, 2, 1, AT, AT, AT, "a", 8, "high", "b", b'{"summary":"x"}',
    idem="0123abcd", about={"file_path": "src/main.py"},
)  # fmt: skip
COMPRESSED = JobOutcome(
    JOB, JobStatus.COMPLETED, "op2", 9, 3, 12, 2, 1, AT, AT, AT, "a", 8, "high", "b", b'"' + b"again " * 40 + b'"'
)
FAILED = JobOutcome(
    JOB, JobStatus.FAILED, "op2", 9, 3, 12, 2, 1, AT, None, AT, "a", 8, "high", "b",
    error={"code": "error", "message": "boom"}, errors=({"code": "error", "message": "boom"},),
    spec={"request": {"file_path": "src/main.py"}, "priority": "high", "by": "b"},
)  # fmt: skip
TERM = Term("slurp", 9, 8, "a", SESSION, NONCE, b"", b"", VirtualClock())


@dataclass(frozen=True)
class Kind:
    """One kind of record.

    Attributes:
        key: Where it stands.
        record: One of it.
        value: How it is written.
        read: Reads it, to something equal to `record`.
    """

    key: str
    record: Any
    value: bytes
    read: Callable[[bytes, bytes], Any]


def _fields_of(key: bytes, value: bytes) -> Any:
    """Of a record that is read field by field, or by people only."""
    return {name: field for name, field in read_object(key, value).items() if name != "schema"}


def _of_kv(read: Callable[[KeyValue], Any]) -> Callable[[bytes, bytes], Any]:
    return lambda key, value: read(KeyValue(key, value, 9, 9, 1))


_NODE = {
    "node": "a", "session": SESSION, "election": "slurp", "lease": 4711, "ttl": 15, "endpoint": "a:8080",
    "capabilities": ["project_manager"], "version": "0.1.0",
}  # fmt: skip
_ME = Identity("a", SESSION, "a:8080", ("project_manager",), "0.1.0")
_BEAT = {"queue_depth": 3, "node": "a", "session": SESSION, "epoch": 8, "beat": 2}
_LEADER = LeaderRecord("a", SESSION, NONCE, 15, 8, "a:8080", "elected")
_ACK = AckRecord(NONCE, OTHER, 40, 4711, "disk full")
_CANCEL, _IDEM = Cancel(12, "not needed", "ops"), Idempotency(JOB, "d1")
_GRANT = Grant(SESSION, "a", NONCE, 300.0)
_FREEZE = ActionRecord("freeze", 8, "ops", "maintenance", AT, "b", 9)
_STOCK, _MORE = Stock(40, {"queue": 3, "run": 1}, 0xABC), Stock(40, {"queue": 4, "run": 1}, 0xABD)
_MANIFEST = Manifest(9, 9, _STOCK, ManifestReason.HANDOVER, "a", AT, {"workers": 4}, {"floor": None}, 10)
_CHECK = Verification(
    9, verification.Verdict.MISMATCH, "etcd had something else", ("queue: 3 left, 4 found",), _STOCK, _MORE,
    {"workers": (4, 8)}, "b", AT, 0.25,
)  # fmt: skip

KINDS = {
    "leader": Kind("m/election/slurp/leader", _LEADER, _LEADER.to_value(), LeaderRecord.from_value),
    "epoch": Kind("m/election/slurp/epoch", 8, epoch_value(8), lambda _, value: read_epoch(value)),
    "heartbeat": Kind("m/election/slurp/hb", _BEAT, heartbeat_value(_ME, 8, 2, {"queue_depth": 3}), _fields_of),
    "wish": Kind("m/election/slurp/control/transfer", WISH, WISH.to_value(), TransferRecord.from_value),
    "offer": Kind("m/election/slurp/control/transfer", OFFER, OFFER.to_value(), TransferRecord.from_value),
    "refusal": Kind(
        "m/election/slurp/control/transfer",
        WISH.refused("unfit"),
        WISH.refused("unfit").to_value(),
        TransferRecord.from_value,
    ),
    "ack": Kind("m/election/slurp/control/ack", _ACK, _ACK.to_value(), AckRecord.from_value),
    "orders": Kind("m/election/slurp/control/operator", ORDERS, ORDERS.to_value(), OperatorRecord.from_value),
    "no orders": Kind(
        "m/election/slurp/control/operator",
        OperatorRecord(),
        OperatorRecord().to_value(),
        OperatorRecord.from_value,
    ),
    "candidate": Kind(f"m/election/slurp/candidates/{OTHER}", CANDIDATE, CANDIDATE.to_value(), Candidate.from_value),
    "node": Kind(f"m/nodes/a/{SESSION}", _NODE, node_value(_ME, 4711, 15, "slurp"), _fields_of),
    "election": Kind("b/history/slurp/0000000008", HISTORY, HISTORY.to_value(), _of_kv(HistoryRecord.from_value)),
    "action": Kind("b/history/slurp/0000000008-0a1b", _FREEZE, _FREEZE.to_value(), _of_kv(ActionRecord.from_value)),
    "manifest": Kind("b/failover/0000000009", _MANIFEST, _MANIFEST.to_value(), _of_kv(Manifest.from_value)),
    "verification": Kind("b/failover/0000000009-check", _CHECK.to_fields(), _CHECK.to_value(), _of_kv(read_check)),
    "job": Kind(f"m/queue/{JOB}", SPEC, SPEC.to_value(), Spec.from_value),
    "claim": Kind("m/run/0000000000000009-00000001", CLAIM, CLAIM.to_value(), Claim.from_value),
    "state": Kind(f"m/state/{JOB}", STATE, STATE.to_value(), JobState.from_value),
    "completed": Kind(f"b/done/{JOB}", COMPLETED, COMPLETED.to_value(4096), JobOutcome.from_value),
    "compressed": Kind(f"b/done/{JOB}", COMPRESSED, COMPRESSED.to_value(64), JobOutcome.from_value),
    "failed": Kind(f"b/done/{JOB}", FAILED, FAILED.to_value(4096), JobOutcome.from_value),
    "cancel": Kind(f"m/cancel/{JOB}", _CANCEL, _CANCEL.to_value(), Cancel.from_value),
    "idempotency": Kind("b/idem/0123abcd", _IDEM, _IDEM.to_value(), Idempotency.from_value),
    "progress": Kind(
        f"b/progress/{JOB}",
        {"run": 3, "fraction": 0.5, "note": "half"},
        progress_value(3, 0.5, "half"),
        _fields_of,
    ),
    "grant": Kind("m/grant/9", _GRANT, _GRANT.to_value(), Grant.from_value),
    "parked": Kind(f"m/parked/queue/{JOB}", {"reason": "not JSON"}, parked_value("not JSON"), _fields_of),
    "closed": Kind("m/control/closed", {"reason": "full", "by": "a"}, closed_value("full", "a"), _fields_of),
    "floor": Kind("m/control/floor", JOB, floor_value(JOB), lambda _, value: read_floor(value)),
    "periodic": Kind("b/periodic/slurp/report", DUE, claim_value(DUE, TERM, NONCE), read_due),
}
