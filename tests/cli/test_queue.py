"""``slurp queue``: how the queue stands, and orders for it; on a real node."""

from __future__ import annotations

from typing import Any

import pytest

from cli.conftest import WAIT_S, Slurp
from slurp_leader import QueueFullError, SlurpLeaderSystem
from support.waiting import until


def test_a_paused_queue_takes_jobs_and_starts_none_until_it_is_resumed(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    assert slurp("queue", "pause", "--why", "the night", "--by", "ops").out == "the queue is paused\n"
    assert slurp("queue", "pause").out == "nothing changed: paused already\n"
    handle = node.submit("greet.py", role="tester")
    told = slurp("queue", "status")
    assert "1 pending" in told.out
    assert "1 jobs: the queue is paused" in told.out
    assert "the queue is paused by ops: the night" in told.out
    seen = slurp("queue", "status", "--json").json
    assert (seen["counts"]["pending"], seen["paused"]["all"]["why"]) == (1, "the night")
    assert slurp("queue", "resume").out == "the queue is resumed\n"
    assert handle.result(WAIT_S).job_id == handle.id
    assert slurp("queue", "resume").out == "nothing changed: not paused\n"


def test_limits_are_shown_changed_and_taken_away(slurp: Slurp, cluster: str) -> None:
    assert slurp("queue", "limits").out == "no limits are ordered; those of the leader's settings hold\n"
    done = slurp("queue", "limits", "all=50", "role:tester=2", "--by", "ops", "--json").json
    assert {scope: each["most"] for scope, each in done["orders"]["limits"].items()} == {"all": 50, "role:tester": 2}
    assert slurp("queue", "limits", "all=none").out == "the limits are changed\n"
    assert slurp("queue", "limits").out == "role:tester: at most 2 at once by ops\n"
    assert list(slurp("queue", "limits", "--json").json["limits"]) == ["role:tester"]


def test_a_drained_queue_takes_no_jobs(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    assert slurp("queue", "drain", "--why", "moving").out == "the queue takes no new jobs\n"
    until(lambda: slurp("queue", "status", "--json").json["closed"])
    with pytest.raises(QueueFullError):
        node.submit("greet.py")
    slurp("queue", "resume")
    until(lambda: not slurp("queue", "status", "--json").json["closed"])
    node.submit("greet.py").result(WAIT_S)


def test_workers_are_set_for_whoever_leads(slurp: Slurp, cluster: str) -> None:
    assert slurp("queue", "workers", "7").out == "7 workers from now on\n"
    assert slurp("queue", "status", "--json").json["workers"] == 7
    assert slurp("queue", "workers", "default").out == "the settings say how many workers there are\n"
    assert slurp("queue", "status", "--json").json["workers"] == 4


@pytest.mark.parametrize(
    ("order", "named"),
    [
        (("pause", "everything"), "role:NAME"),
        (("limits", "all"), "SCOPE=N"),
        (("limits", "all=many"), "whole number"),
        (("limits", "node:x=1"), "role:NAME"),
        (("workers", "0"), "from 1 to 256"),
        (("workers", "x"), "whole number"),
        (("pause", "--by", " "), "--by"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_what_would(
    slurp: Slurp, cluster: str, order: tuple[Any, ...], named: str
) -> None:
    refused = slurp("queue", *order)
    assert refused.code == 2
    assert named in refused.err
