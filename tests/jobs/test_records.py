"""Records: what is written can be read again, and whatever else stands there is a `RecordError`, never another one."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rig import KEYS
from slurp_leader.clock import format_utc
from slurp_leader.errors import RecordError
from slurp_leader.jobs.ids import LOWEST, IdMint, is_job_id
from slurp_leader.jobs.records import (
    Cancel,
    Claim,
    ClaimEntry,
    Idempotency,
    JobLimits,
    JobOutcome,
    JobState,
    JobStatus,
    Retried,
    Spec,
    digest_of,
    floor_value,
    idempotency_hash,
    read_floor,
)
from slurp_leader.jobs.request import Priority
from support.virtual import VirtualClock

CLOCK = VirtualClock()
JOB_ID = IdMint(CLOCK, random.Random(1)).mint()
NAME = JOB_ID.encode()

# ---------------------------------------------------------------- any record

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
whole = st.integers(0, 2**53)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=3,
)
objects = st.dictionaries(text, json_value, max_size=2)
dates = st.datetimes(timezones=st.just(UTC)).map(format_utc)
seconds = st.floats(0.001, 1e9)
ids = st.builds(lambda seed: IdMint(CLOCK, random.Random(seed)).mint(), st.integers(0, 1000))

specs = st.builds(
    Spec,
    job_id=st.just(JOB_ID),
    payload=objects,
    priority=st.sampled_from(Priority),
    limits=st.builds(
        JobLimits,
        seconds,
        st.integers(1, 100),
        st.integers(1, 100),
        seconds,
        seconds,
        st.floats(0, 1),
        st.none() | seconds,
    ),
    submitted_at=text,
    submitted_by=text,
    run_at=st.none() | dates,
    idem=st.none() | text,
    trace=st.none() | text,
    role=text,
    project=text,
    slots=st.integers(1, 100),
    memory=st.integers(0, 2**53),
    deadline=st.none() | dates,
    retried=st.none() | st.builds(Retried, text, text, st.integers(1, 2**53), st.lists(objects, max_size=2).map(tuple)),
)
states = st.builds(
    JobState,
    closed=whole,
    attempts=whole,
    interruptions=whole,
    crashes=whole,
    sole_crashes=whole,
    run_at=st.none() | dates,
    errors=st.lists(objects, max_size=2).map(tuple),
    op=text,
)
claims = st.builds(
    Claim,
    session=text,
    entries=st.lists(st.builds(ClaimEntry, ids, st.integers(1, 2**60), st.integers(1, 2**60)), max_size=5).map(tuple),
    quarantined=st.booleans(),
)
outcomes = st.builds(
    JobOutcome,
    job_id=st.just(JOB_ID),
    status=st.sampled_from([JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED]),
    op=text,
    token=whole,
    run=whole,
    queue_revision=whole,
    attempts=whole,
    interruptions=whole,
    submitted_at=text,
    started_at=st.none() | text,
    finished_at=text,
    node_id=text,
    result_json=st.none() | json_value.map(lambda value: json.dumps(value, separators=(",", ":")).encode()),
    error=st.none() | objects,
    errors=st.lists(objects, max_size=2).map(tuple),
    idem=st.none() | text,
    spec=st.none() | objects,
    cached=st.booleans(),
)
cancels = st.builds(Cancel, st.integers(1, 2**60), text, text)
idems = st.builds(Idempotency, text, text)


@dataclass(frozen=True)
class Kind:
    """One kind of record: its key, how it is read, and any of them."""

    key: bytes
    read: Callable[[bytes, bytes], Any]
    records: st.SearchStrategy[Any]

    def write(self, record: Any) -> bytes:
        value: bytes = record.to_value(64) if isinstance(record, JobOutcome) else record.to_value()
        return value


KINDS = {
    "spec": Kind(KEYS.queue + NAME, Spec.from_value, specs),
    "state": Kind(KEYS.state + NAME, JobState.from_value, states),
    "claim": Kind(KEYS.claim(5, 1), Claim.from_value, claims),
    "outcome": Kind(KEYS.done + NAME, JobOutcome.from_value, outcomes),
    "cancel": Kind(KEYS.cancel + NAME, Cancel.from_value, cancels),
    "idempotency": Kind(KEYS.idem + b"h", Idempotency.from_value, idems),
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def plain(record: Any) -> Any:
    """A record with its result as a value: the same value can be written in more than one way."""
    return replace(record, result_json=json.dumps(record.result).encode()) if isinstance(record, JobOutcome) else record


@each_kind
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_record_is_read_as_it_was_written(kind: Kind, data: st.DataObject) -> None:
    record = data.draw(kind.records)
    assert plain(kind.read(kind.key, kind.write(record))) == plain(record)


@each_kind
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_fields_that_are_not_known_are_passed_over(kind: Kind, data: st.DataObject) -> None:
    record = data.draw(kind.records)
    wire = {**json.loads(kind.write(record)), "something_new": data.draw(json_value)}
    assert plain(kind.read(kind.key, json.dumps(wire).encode())) == plain(record)


@each_kind
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_truncated_record_is_an_error(kind: Kind, data: st.DataObject) -> None:
    value = kind.write(data.draw(kind.records))
    with pytest.raises(RecordError):
        kind.read(kind.key, value[: data.draw(st.integers(0, len(value) - 1))])


@each_kind
@pytest.mark.parametrize("schema", [0, 2, None, True, "1"])
def test_another_schema_version_is_an_error(kind: Kind, schema: object) -> None:
    with pytest.raises(RecordError) as caught:
        kind.read(kind.key, json.dumps({"schema": schema}).encode())
    assert caught.value.key == kind.key.decode()


@each_kind
@settings(max_examples=15, deadline=None)
@given(value=st.binary(max_size=60))
def test_any_bytes_are_a_record_or_a_record_error(kind: Kind, value: bytes) -> None:
    with pytest.raises(RecordError):
        kind.read(kind.key, value)


@each_kind
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_forged_field_is_a_record_or_a_record_error(kind: Kind, data: st.DataObject) -> None:
    wire = json.loads(kind.write(data.draw(kind.records)))
    name = data.draw(st.sampled_from(sorted(wire)))
    if data.draw(st.booleans()):
        wire[name] = data.draw(json_value | st.just(10**30) | st.just("9999-12-31T23:59:59-23:59"))
    else:
        del wire[name]
    with contextlib.suppress(RecordError):
        kind.read(kind.key, json.dumps(wire).encode())


# ---------------------------------------------------------------- what is checked beyond the form


@given(specs)
def test_what_an_outcome_keeps_of_a_job_is_enough_to_have_it_tried_again(spec: Spec) -> None:
    kept = json.loads(json.dumps(spec.kept()))
    again = Spec.from_kept(spec.job_id, kept, JobLimits(), spec.submitted_at)
    assert again == replace(spec, run_at=None, idem=None, trace=None)


def test_a_spec_that_uses_nothing_new_is_written_as_before() -> None:
    """Nodes of the first version read what they know, and pass over the rest."""
    spec = Spec(JOB_ID, {"n": 1}, Priority.NORMAL, JobLimits(), "", "")
    assert json.loads(spec.to_value()).keys() == {
        "schema", "id", "request", "priority", "options", "submitted_at", "by", "sum",
    }  # fmt: skip
    assert len(json.loads(spec.to_value())["options"]) == 6


def spec_wire(**changes: Any) -> bytes:
    spec = Spec(JOB_ID, {"n": 1}, Priority.NORMAL, JobLimits(), "", "")
    return json.dumps({**json.loads(spec.to_value()), **changes}).encode()


def test_a_changed_request_does_not_match_its_checksum() -> None:
    with pytest.raises(RecordError, match="checksum"):
        Spec.from_value(KEYS.queue + NAME, spec_wire(request={"n": 2}))


def test_a_checksum_does_not_depend_on_the_order_of_keys() -> None:
    wire = json.loads(Spec(JOB_ID, {"a": 1, "b": {"c": 2, "d": 3}}, Priority.LOW, JobLimits(), "", "").to_value())
    wire["request"] = {"b": {"d": 3, "c": 2}, "a": 1}
    assert Spec.from_value(KEYS.queue + NAME, json.dumps(wire).encode()).payload == wire["request"]


def test_only_an_answer_from_the_cache_says_so() -> None:
    """So older versions and older records mean the same: what says nothing was generated."""
    assert "cached" not in json.loads(completed().to_value(0))
    wire = json.loads(replace(completed(), cached=True).to_value(0))
    assert wire["cached"] is True
    for said in (False, None, "yes", 1, {}):
        value = json.dumps({**wire, "cached": said}).encode()
        assert JobOutcome.from_value(KEYS.done + NAME, value).cached is False


@pytest.mark.parametrize("kind", ["spec", "outcome"])
def test_a_record_under_the_key_of_another_job_is_an_error(kind: str) -> None:
    other = IdMint(CLOCK, random.Random(2)).mint().encode()
    record = KINDS[kind]
    value = spec_wire() if kind == "spec" else completed().to_value(0)
    with pytest.raises(RecordError, match="key"):
        record.read(KEYS.queue + other, value)


@pytest.mark.parametrize("status", ["pending", "running", "parked", "?", None])
def test_an_outcome_that_is_no_outcome_is_an_error(status: str | None) -> None:
    wire = json.loads(completed().to_value(0))
    with pytest.raises(RecordError):
        JobOutcome.from_value(KEYS.done + NAME, json.dumps({**wire, "status": status}).encode())


@pytest.mark.parametrize("run_at", ["soon", "2026-01-01", "2026-01-01T00:00:00", "9999-12-31T23:59:59-23:59", 5])
def test_a_date_that_no_calendar_knows_is_an_error(run_at: object) -> None:
    with pytest.raises(RecordError):
        Spec.from_value(KEYS.queue + NAME, spec_wire(run_at=run_at))
    state = {**json.loads(JobState(op="x").to_value()), "run_at": run_at}
    with pytest.raises(RecordError):
        JobState.from_value(KEYS.state + NAME, json.dumps(state).encode())


def test_dates_in_other_forms_are_read_into_the_one_that_sorts() -> None:
    assert Spec.from_value(KEYS.queue + NAME, spec_wire(run_at="2026-01-01T01:00:00+01:00")).run_at == (
        "2026-01-01T00:00:00.000Z"
    )


@pytest.mark.parametrize(("field", "value"), [("timeout_s", 0), ("max_attempts", 0), ("backoff_cap_s", 1e300)])
def test_limits_that_make_no_sense_are_an_error(field: str, value: float) -> None:
    options = {**json.loads(spec_wire())["options"], field: value}
    with pytest.raises(RecordError):
        Spec.from_value(KEYS.queue + NAME, spec_wire(options=options))


# ---------------------------------------------------------------- results


def completed(result_json: bytes | None = b'"x"') -> JobOutcome:
    return JobOutcome(JOB_ID, JobStatus.COMPLETED, "op", 1, 1, 1, 1, 0, "", None, "", "n", result_json=result_json)


def test_a_large_result_is_compressed_when_that_helps_and_read_back() -> None:
    result = json.dumps(["again"] * 500).encode()
    value = completed(result).to_value(100)
    assert len(value) < len(result)
    assert JobOutcome.from_value(KEYS.done + NAME, value).result == ["again"] * 500


def test_a_result_that_compression_does_not_help_stays_as_it_is() -> None:
    noise = json.dumps("".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789+/ABCDEF", k=60))).encode()
    assert b'"result":' in completed(noise).to_value(10)


def test_a_result_that_inflates_to_more_than_it_says_is_an_error() -> None:
    wire = json.loads(completed(None).to_value(0))
    bomb = base64.b85encode(zlib.compress(b" " * 10_000_000)).decode()
    with pytest.raises(RecordError):
        JobOutcome.from_value(KEYS.done + NAME, json.dumps({**wire, "result_zlib": bomb, "result_bytes": 5}).encode())


def test_a_missing_result_is_none_and_null_is_a_result() -> None:
    assert JobOutcome.from_value(KEYS.done + NAME, completed(None).to_value(0)).result_json is None
    assert JobOutcome.from_value(KEYS.done + NAME, completed(b"null").to_value(0)).result_json == b"null"


# ---------------------------------------------------------------- keys, digests, floors, ids


def test_claims_sort_as_they_were_made() -> None:
    made = [KEYS.claim(9, 10), KEYS.claim(10, 1), KEYS.claim(10, 2), KEYS.claim(100, 1)]
    assert sorted(made) == made


def test_a_digest_tells_bodies_apart_and_not_orders_of_keys() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert idempotency_hash("a") != idempotency_hash("b")


@given(ids)
def test_a_floor_is_read_as_it_was_written_and_compares_as_ids_do(job_id: str) -> None:
    assert read_floor(floor_value(job_id)) == job_id
    assert floor_value(LOWEST) < floor_value(job_id)


@pytest.mark.parametrize("value", [b"", b'"', b'""', LOWEST.encode(), b'"x"', b"\xff", floor_value("f" + LOWEST[1:])])
def test_anything_else_is_no_floor(value: bytes) -> None:
    assert read_floor(value) is None


def test_ids_grow_strictly_whatever_the_calendar_does() -> None:
    clock = VirtualClock()
    mint = IdMint(clock, random.Random(3))
    minted = []
    for step in (0, 1, -3600, 0, 7200):
        clock.now += step
        minted += [mint.mint() for _ in range(5000)]
    assert minted == sorted(set(minted))
    assert all(is_job_id(job_id) for job_id in minted)


def test_ids_are_minted_above_what_they_are_told() -> None:
    mint = IdMint(CLOCK, random.Random(4))
    high = IdMint(VirtualClock(), random.Random(5))
    high.stay_above("02000000-0000-7000-8000-000000000000")
    told = high.mint()
    mint.stay_above(told)
    assert mint.mint() > told
    mint.stay_above(LOWEST)  # never back
    assert mint.mint() > told


@pytest.mark.parametrize("name", ["", "x", LOWEST.upper() + "0", LOWEST.replace("7", "4", 1), LOWEST + "\n"])
def test_other_texts_are_no_ids(name: str) -> None:
    assert not is_job_id(name)
