"""`Elections`: many elections of one process share a connection and a watch, and nothing else."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from slurp_leader import Elections, SlurpSettings
from slurp_leader.errors import ConfigurationError, LifecycleError, StoreDeniedError
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.store import Get, Revoke
from slurp_leader.store.follow import FollowFailed
from slurp_leader.store.memory import MemoryStore
from support.etcd import EtcdServers
from support.waiting import WAIT_S, until

MANY = 50


def settings(node_id: str = "a", ttl_s: float = 3, endpoint: str = "") -> SlurpSettings:
    etcd = {"endpoints": [endpoint]} if endpoint else {}
    return SlurpSettings(node={"id": node_id}, election={"lease_ttl": ttl_s}, etcd=etcd)


def hub(shared: Any, *names: str, node_id: str = "a") -> Elections:
    elections = Elections(settings(node_id), stores=shared)
    for name in names:
        elections.add(name)
    return elections


def lead_all(elections: Elections) -> dict[str, int]:
    """Wait until all lead; their tokens."""
    for name in elections:
        assert elections[name].wait_for_leadership(WAIT_S), name
    return {name: elections[name].require_term().token for name in elections}


def leader_key(shared: Any, name: str) -> Any:
    return shared.store.call(Get(f"/slurp/v1/default/m/election/{name}/leader".encode()), 5).result().kvs


# ---------------------------------------------------------------- life


def test_they_live_as_long_as_the_service_on_its_event_loop(shared: Any) -> None:
    elections = hub(shared, "reports", "mail")

    async def serve() -> list[bool]:
        async with elections.lifespan(None):
            waits = [elections[name].aio.wait_for_leadership(WAIT_S) for name in elections]
            return list(await asyncio.gather(*waits))

    assert asyncio.run(serve()) == [True, True]
    assert not leader_key(shared, "reports")


def test_all_stand_while_it_runs_and_all_is_given_back_in_the_end(shared: Any) -> None:
    elections = hub(shared, "reports", "mail")
    assert list(elections) == ["reports", "mail"]
    assert (len(elections), "mail" in elections, "x" in elections) == (2, True, False)
    for _ in range(2):
        with elections:
            assert len(set(lead_all(elections).values())) == 2
        assert not elections["reports"].is_leader
        assert not leader_key(shared, "mail")


def test_each_changes_hands_by_itself(shared: Any) -> None:
    with hub(shared, "one", "two") as mine, hub(shared, "one", "two", node_id="b") as theirs:
        assert mine["one"].wait_for_leader(WAIT_S) == theirs["one"].wait_for_leader(WAIT_S)
        holder, other = (mine, theirs) if mine["one"].wait_for_leadership(1) else (theirs, mine)
        two = mine["two"].wait_for_leader(WAIT_S)
        assert holder["one"].stop()
        assert other["one"].wait_for_leadership(WAIT_S)
        assert mine["two"].wait_for_leader(WAIT_S) == two
        holder["one"].start()
        assert holder["one"].wait_for_leader(WAIT_S).node_id == other["one"].require_term().node_id


def test_one_that_is_added_or_removed_while_it_runs_starts_and_stops_alone(shared: Any) -> None:
    with hub(shared, "first") as elections:
        tokens = lead_all(elections)
        assert elections.add("second").wait_for_leadership(WAIT_S)
        assert elections["second"].wait_for_leader(WAIT_S).node_id == "a"
        assert elections.remove("second")
        assert not leader_key(shared, "second")
        assert lead_all(elections) == tokens
    with pytest.raises(KeyError):
        elections.remove("second")


def test_removing_one_leaves_the_connection_of_the_others() -> None:
    class Watched(MemoryStore):
        is_closed = False

        def close(self) -> None:
            self.is_closed = True
            super().close()

    store = Watched()
    with hub(lambda: store, "first", "second") as elections:
        lead_all(elections)
        assert elections.remove("second")
        assert not store.is_closed
        assert elections["first"].get_leader(WAIT_S, fresh=True) is not None
    assert store.is_closed


def test_one_that_is_added_after_the_watch_was_lost_for_good_does_not_stand(shared: Any) -> None:
    with hub(shared, "first") as elections:
        lead_all(elections)
        elections._need_parts().shared._take(FollowFailed(StoreDeniedError("permission denied")))
        late = elections.add("late")
        assert not late.wait_for_leadership(WAIT_S)
        assert [problem["what"] for problem in late.health()["problems"]] == ["store"]


def test_misuse_says_what_to_do(shared: Any) -> None:
    elections = hub(shared, "reports")
    with pytest.raises(ConfigurationError, match="added before"):
        elections.add("reports")
    with pytest.raises(ConfigurationError, match=r"election\.name"):
        elections.add("a/b")
    with pytest.raises(LifecycleError, match="`Elections` it belongs to"):
        elections["reports"].start()
    assert elections.stop()
    with elections, pytest.raises(LifecycleError, match="running"):
        elections.start()
    assert elections.stop()


def test_health_is_that_of_all(shared: Any) -> None:
    elections = hub(shared, "one", "two")
    assert not elections.health()["live"]
    with elections:
        lead_all(elections)
        health = elections.health()
        assert (health["live"], health["ready"], health["healthy"]) == (True, True, True)
        elections["two"].stop()
        health = elections.health()
        assert not health["live"]
        assert health["elections"]["one"]["live"]
        assert not health["elections"]["two"]["live"]


# ---------------------------------------------------------------- what one does to the others: nothing


def test_a_lost_lease_ends_the_term_of_its_election_alone(shared: Any) -> None:
    with hub(shared, "one", "two", "three") as elections:
        tokens = lead_all(elections)
        term = elections["two"].require_term()
        shared.store.call(Revoke(leader_key(shared, "two")[0].lease), 5).result()
        assert term.lost.wait(WAIT_S)
        after = lead_all(elections)
        assert after["two"] > tokens["two"]
        assert (after["one"], after["three"]) == (tokens["one"], tokens["three"])


def test_a_listener_that_hangs_holds_up_no_other_election(shared: Any) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_: object) -> None:
        hangs.set()
        goes_on.wait(WAIT_S)

    elections = hub(shared, "stuck", "other")
    elections["stuck"].subscribe(hang)
    try:
        with elections:
            assert hangs.wait(WAIT_S)
            assert elections["other"].wait_for_leadership(WAIT_S)
            changes = elections["other"].observe()
            assert next(changes).leader is not None
            elections["other"].resign(pause=0)
            assert next(changes).leader is None
            assert next(changes).leader is not None
            goes_on.set()
    finally:
        goes_on.set()


def test_work_that_will_not_end_delays_the_stop_of_no_other(shared: Any) -> None:
    """All are stopped at once: the others have given back while one still drains."""
    began, may_end = threading.Event(), threading.Event()

    def work(term: Any) -> None:
        began.set()
        may_end.wait(WAIT_S)

    elections = hub(shared, "slow", "quick")
    elections.start()
    lead_all(elections)
    quick = elections["quick"].require_term()
    worker = threading.Thread(target=lambda: elections["slow"].run(work))
    worker.start()
    assert began.wait(WAIT_S)
    stopping = threading.Thread(target=elections.stop)
    stopping.start()
    assert quick.lost.wait(WAIT_S)
    assert elections["slow"].is_leader
    with pytest.raises(LifecycleError, match="being stopped"):
        elections.add("late").start()
    may_end.set()
    stopping.join(WAIT_S)
    worker.join(WAIT_S)
    assert not stopping.is_alive()


# ---------------------------------------------------------------- threads


def test_it_can_be_used_from_many_threads_at_once(shared: Any) -> None:
    elections = hub(shared)
    failures: list[BaseException] = []
    begun = threading.Barrier(9)

    def use(number: int) -> None:
        try:
            begun.wait()
            for turn in range(5):
                name = f"e{number}-{turn}"
                elections.add(name).wait_for_leadership(WAIT_S)
                assert elections[name].is_leader
                assert name in list(elections)
                elections.health()
                assert elections.remove(name)
        except BaseException as error:
            failures.append(error)

    users = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    with elections:
        for user in users:
            user.start()
        begun.wait()
        for user in users:
            user.join(WAIT_S)
    assert failures == []
    assert len(elections) == 0


def test_starts_and_stops_from_many_threads_leave_nothing_running(shared: Any) -> None:
    elections = hub(shared, "one", "two")
    before = threading.active_count()

    def turn() -> None:
        for _ in range(5):
            try:
                elections.start()
            except LifecycleError:
                pass
            elections.stop()

    threads = [threading.Thread(target=turn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert elections.stop()
    assert not leader_key(shared, "one")
    assert threading.active_count() == before


# ---------------------------------------------------------------- on real etcd


@pytest.fixture
def own_etcd(etcd_servers: EtcdServers) -> Any:
    """An etcd that nobody else is connected to."""
    with EtcdProcess(binary=etcd_servers.binary("any")) as server:
        yield server


def watchers(server: EtcdProcess) -> tuple[int, int]:
    """Watches and watch streams that etcd serves."""
    connection = http.client.HTTPConnection("127.0.0.1", server._server.ports.metrics, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = dict(re.findall(r"^etcd_debugging_mvcc_(watcher|watch_stream)_total (\d+)", text, re.MULTILINE))
    return int(found["watcher"]), int(found["watch_stream"])


def connections_to(server: EtcdProcess) -> int:
    """TCP connections of this process to the port that etcd serves clients on."""
    port = f"{int(server.endpoint.rpartition(':')[2]):04X}"
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(fd))
        except FileNotFoundError:
            continue  # closed meanwhile
    count = 0
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else ():
            fields = line.split()
            count += fields[2].endswith(f":{port}") and fields[3] == "01" and f"socket:[{fields[9]}]" in links
    return count


@pytest.mark.etcd
def test_fifty_elections_use_one_connection_and_one_watch_and_have_a_lease_each(own_etcd: EtcdProcess) -> None:
    elections = Elections(settings(endpoint=own_etcd.endpoint, ttl_s=10))
    for number in range(MANY):
        elections.add(f"e{number}")
    with elections:
        tokens = lead_all(elections)
        assert watchers(own_etcd) == (1, 1)
        assert connections_to(own_etcd) == 1

        from slurp_leader.etcd import EtcdOptions, EtcdStore

        with EtcdStore(EtcdOptions(endpoints=[own_etcd.endpoint])) as store:
            prefix = b"/slurp/v1/default/m/election/"
            kvs = {kv.key: kv for kv in store.call(Get(prefix, prefix + b"\xff"), 10).result().kvs}
            leases = [kvs[prefix + f"e{number}/leader".encode()].lease for number in range(MANY)]
            assert len(set(leases) - {0}) == MANY
            term = elections["e7"].require_term()
            store.call(Revoke(leases[7]), 10).result()
            assert term.lost.wait(WAIT_S)
        after = lead_all(elections)
        assert {name for name in tokens if after[name] != tokens[name]} == {"e7"}
    until(lambda: watchers(own_etcd) == (0, 0))  # etcd hears of the end in its own time
    assert connections_to(own_etcd) == 0
