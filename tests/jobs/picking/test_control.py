"""What operators order for the queue, as a record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.errors import ConfigurationError, RecordError
from slurp_leader.jobs.picking.control import ALL, EACH_ROLE, QueueControl, check_scope
from slurp_leader.orders import Order

BY = Order("ops", "why not", "2026-01-01T00:00:00.000Z")
KEY = b"/slurp/v1/c/m/control/queue"


def again(control: QueueControl) -> QueueControl:
    return QueueControl.from_value(KEY, control.to_value())


def test_it_is_read_as_it_was_written() -> None:
    control = QueueControl(op="1").pause(ALL, BY).pause("role:x", BY).limit("project:p", 0, BY).limit(EACH_ROLE, 3, BY)
    control = control.scale(7, BY).drain(BY)
    assert again(control) == control


def test_each_order_is_taken_back() -> None:
    control = QueueControl().pause("role:x", BY).pause(ALL, BY).limit(ALL, 3, BY).scale(7, BY).drain(BY)
    resumed = control.resume(ALL)
    assert (set(resumed.paused), resumed.draining) == ({"role:x"}, None)
    assert control.resume("role:x").draining is not None
    assert control.limit(ALL, None, BY).limits == {}
    assert control.scale(None, BY).workers is None


def test_fields_of_a_later_version_are_kept() -> None:
    value = json.loads(QueueControl().pause(ALL, BY).limit(ALL, 2, BY).to_value())
    value["tides"] = {"moon": 1}
    value["paused"][ALL]["until"] = "noon"
    value["limits"][ALL]["soft"] = True
    kept = json.loads(QueueControl.from_value(KEY, json.dumps(value).encode()).pause("role:x", BY).to_value())
    assert kept["tides"] == {"moon": 1}
    assert kept["paused"][ALL]["until"] == "noon"
    assert kept["limits"][ALL]["soft"] is True


@pytest.mark.parametrize(
    "fields",
    [
        {"paused": []},
        {"paused": {ALL: None}},
        {"paused": {"": {}}},
        {"paused": {ALL: {"by": 1}}},
        {"limits": {ALL: {}}},
        {"limits": {ALL: {"most": -1}}},
        {"limits": {ALL: {"most": True}}},
        {"limits": {ALL: {"most": "3"}}},
        {"workers": {"most": 0}},
        {"workers": {"most": 100_000}},
        {"draining": 1},
        {"schema": 2},
    ],
)
def test_what_makes_no_sense_is_not_read(fields: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        QueueControl.from_value(KEY, json.dumps({"schema": 1, **fields}).encode())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: (
            st.lists(each)
            | st.dictionaries(
                st.sampled_from(["schema", "paused", "limits", "workers", "draining", ALL, "most", "by"]), each
            )
        ),
    )
)
def test_garbage_is_refused_and_never_crashes(data: Any) -> None:
    try:
        QueueControl.from_value(KEY, json.dumps(data).encode())
    except RecordError:
        pass


def test_a_record_that_nobody_could_read_is_not_written() -> None:
    control = QueueControl()
    for number in range(400):
        control = control.pause(f"role:{number}", Order("ops", "x" * 1000))
    with pytest.raises(ConfigurationError, match="resume or lift"):
        control.to_value()
    with pytest.raises(RecordError):
        QueueControl.from_value(KEY, b'{"schema":1,"x":"%s"}' % (b"x" * 300_000))


@pytest.mark.parametrize(
    "scope", ["", "everything", "role:", "role", "project:", "node:x", "each-role", None, 3, "role:" + "x" * 2000]
)
def test_a_scope_that_is_none_is_refused_by_name(scope: object) -> None:
    with pytest.raises(ConfigurationError, match="role:NAME") as refused:
        check_scope(scope)
    assert refused.value.field == "scope"


@pytest.mark.parametrize("scope", ["all", "role:x", "project:a:b"])
def test_a_scope_is_taken(scope: str) -> None:
    assert check_scope(scope) == scope
    assert check_scope("each-role", of_limit=True) == "each-role"


@pytest.mark.parametrize("most", [-1, 1.5, True, "3", 10_000_000])
def test_a_limit_that_is_no_number_is_refused(most: Any) -> None:
    with pytest.raises(ConfigurationError):
        QueueControl().limit(ALL, most, BY)
