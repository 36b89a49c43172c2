"""The rules between the fields of election and jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from slurp_leader.election.options import ElectionOptions
from slurp_leader.election.ranking.scoring import Weights
from slurp_leader.errors import ConfigurationError
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.settings import NodeOptions


def test_the_default_times_are_those_of_the_design() -> None:
    timing = ElectionOptions().for_requested()
    assert timing.ttl_s == 15
    assert timing.renew_interval_s == pytest.approx(3)
    assert timing.rpc_timeout_s == pytest.approx(2)
    assert timing.margin_s == pytest.approx(1.5)
    options = ElectionOptions()
    assert (options.stall_timeout_s, options.hook_timeout_s, options.stop_timeout_s) == (5, 5, 30)
    assert (options.retry_interval_s, options.takeover_timeout_s) == (3, 3)
    assert (options.rank_wait_s, options.publish_interval_s) == (1, 60)


def test_the_default_weights_are_those_of_the_design_wherever_they_stand() -> None:
    assert ElectionOptions().weights == Weights(0.35, 0.25, 0.15, 0.15, 0.10) == Weights()


@pytest.mark.parametrize("ttl_s", [3, 4, 5, 10, 15, 60, 3600])
def test_default_times_leave_room_for_a_full_retry_under_every_ttl(ttl_s: int) -> None:
    timing = ElectionOptions(lease_ttl=timedelta(seconds=ttl_s)).for_requested()
    assert timing.renew_interval_s + 2 * (2 * timing.rpc_timeout_s) + timing.margin_s < ttl_s
    assert timing.margin_s >= 0.3


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"renew_interval": 10}, "lower renew_interval below 5.5 s or raise lease_ttl to 28 s"),
        ({"rpc_timeout": 3}, "lower rpc_timeout below 2.625 s or raise lease_ttl to 18 s"),
        ({"margin": "5s"}, "lower margin below 4 s or raise lease_ttl to 19 s"),
        ({"lease_ttl": 5, "rpc_timeout": 5}, "raise lease_ttl to 29 s"),
        (
            {"renew_interval": 1, "rpc_timeout": 3, "margin": 3},
            "lower rpc_timeout below 2.75 s or lower margin below 2 s or raise lease_ttl to 17 s",
        ),
    ],
)
def test_times_that_leave_no_room_are_refused_with_the_number_to_change(fields: dict[str, Any], advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice) as caught:
        ElectionOptions(**fields)
    assert caught.value.field == "election.lease_ttl"


@pytest.mark.parametrize(
    "fields",
    [{"renew_interval": 5.49}, {"rpc_timeout": 2.624}, {"margin": 3.99}, {"renew_interval": 10, "lease_ttl": 28}],
)
def test_the_advice_of_the_refusal_is_enough(fields: dict[str, Any]) -> None:
    assert ElectionOptions(**fields).for_requested().fits


def test_exactly_the_ttl_is_not_enough() -> None:
    with pytest.raises(ConfigurationError):
        ElectionOptions(renew_interval=timedelta(seconds=5.5))


@pytest.mark.parametrize("ttl", [2, 3601, 0, "2.9s"])
def test_a_ttl_out_of_range_is_refused(ttl: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"election\.lease_ttl"):
        ElectionOptions(lease_ttl=ttl)


def test_a_ttl_with_a_fraction_is_refused_because_etcd_has_whole_seconds() -> None:
    with pytest.raises(ConfigurationError, match=r"election\.lease_ttl: must be whole seconds"):
        ElectionOptions(lease_ttl=timedelta(seconds=3.5))


def test_a_longer_granted_ttl_stretches_what_was_not_set_by_hand() -> None:
    timing = ElectionOptions(rpc_timeout=timedelta(seconds=1)).for_granted(30)
    assert (timing.ttl_s, timing.renew_interval_s, timing.rpc_timeout_s) == (30, pytest.approx(6), pytest.approx(1))


def test_a_granted_ttl_that_is_too_short_for_the_times_set_by_hand_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="etcd granted 5 s"):
        ElectionOptions(renew_interval=timedelta(seconds=4)).for_granted(5)


def test_the_defaults_of_jobs_are_those_of_the_design() -> None:
    options = JobsOptions()
    assert (options.workers, options.max_attempts, options.max_interruptions) == (4, 3, 3)
    assert (options.queue_limit, options.queue_bytes) == (10_000, 256 * 1024 * 1024)
    assert (options.timeout_s, options.drain_timeout_s) == (300, 30)
    assert (options.retain_completed, options.retain_failed) == (timedelta(hours=1), timedelta(days=7))
    assert (options.flush_items, options.flush_bytes, options.flush_delay_s) == (63, 512 * 1024, 0.005)


@pytest.mark.parametrize(
    "fields",
    [
        {"workers": 0},
        {"workers": 257},
        {"max_attempts": 0},
        {"flush_items": 64},
        {"flush_bytes": "2MiB"},
        {"result_limit": "2MiB"},
        {"payload_limit": "2GiB"},
        {"payload_store": "not/absolute"},
        {"retain_completed_count": -1},
        {"backoff_jitter": 1.1},
        {"backoff_jitter": float("nan")},
        {"timeout": float("inf")},
        {"queue_limit": -1},
    ],
)
def test_a_number_out_of_range_is_refused_by_name(fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(ConfigurationError, match=rf"^jobs\.{name}"):
        JobsOptions(**fields)


def test_the_longest_back_off_is_not_shorter_than_the_first() -> None:
    with pytest.raises(ConfigurationError, match=r"^jobs\.backoff_cap: 60 s is less than backoff_base 100 s: raise it"):
        JobsOptions(backoff_base=timedelta(seconds=100))


def test_the_node_id_is_the_same_throughout_a_process_and_fit_for_a_key() -> None:
    assert NodeOptions().id == NodeOptions().id
    assert NodeOptions(id=NodeOptions().id).id == NodeOptions().id


@pytest.mark.parametrize(
    "address", ["", "host:8080", "http://10.0.0.1:80", "https://node-1.example:8443", "[::1]:2379"]
)
def test_an_address_to_advertise_is_accepted(address: str) -> None:
    assert NodeOptions(advertise=address).advertise == address


@pytest.mark.parametrize(
    "address", ["host", "host:0", "host:70000", "ftp://host:1", "user:pw@host:1", "a b:1", "h:1\n"]
)
def test_an_address_nobody_can_reach_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"node\.advertise"):
        NodeOptions(advertise=address)


def test_capabilities_are_lower_case_and_named_once() -> None:
    assert NodeOptions(capabilities=("GPU", "llm")).capabilities == ("gpu", "llm")
    with pytest.raises(ConfigurationError, match=r"node\.capabilities: must not name a capability twice"):
        NodeOptions(capabilities=("gpu", "GPU"))


def test_required_capabilities_are_written_as_those_of_a_node_are() -> None:
    assert ElectionOptions().requires is None
    assert ElectionOptions(requires=()).requires == ()
    assert ElectionOptions(requires=("GPU", "llm")).requires == NodeOptions(capabilities=("GPU", "llm")).capabilities


@pytest.mark.parametrize(
    ("requires", "fault"),
    [
        (("",), "each must be 1 to 64 letters"),
        ((" ",), "each must be 1 to 64 letters"),
        (("x" * 65,), "each must be 1 to 64 letters"),
        (("project manager",), "each must be 1 to 64 letters"),
        (("gpu", "GPU"), "must not name a capability twice"),
        (tuple(f"c{number}" for number in range(65)), "64"),
    ],
)
def test_a_required_capability_that_no_node_could_have_is_refused_by_name(requires: Any, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"election\.requires( = '.*)?: .*{fault}"):
        ElectionOptions(requires=requires)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan"), float("inf"), "nan", "much", "", None, [], True])
def test_a_weight_that_is_no_share_of_a_whole_is_refused_by_name(weight: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"election\.weight_network"):
        ElectionOptions(weight_network=weight)


@pytest.mark.parametrize("off", [-0.05, 0.05, 1e-5])
def test_weights_that_do_not_sum_to_a_whole_are_refused_with_what_to_change(off: float) -> None:
    with pytest.raises(ConfigurationError, match=r"not 1: (take|add) \S+ (away from|to) some of them"):
        ElectionOptions(weight_network=0.15 + off)
    ElectionOptions(weight_network=0.15 + off, weight_uptime=0.15 - off)
