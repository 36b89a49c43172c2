"""`slurp failover`: what leaders left, and whether it is so."""

from __future__ import annotations

import pytest

from cli.conftest import Slurp
from slurp_leader import SlurpLeaderSystem
from slurp_leader.cli.documents import as_document
from slurp_leader.failover import FailoverKeys, Manifest, ManifestReason
from slurp_leader.failover.keeping import take_stock
from slurp_leader.store import Put, Store
from slurp_leader.store.keyspace import Keyspace
from support.waiting import WAIT_S

pytestmark = pytest.mark.etcd


def leave(store: Store, cluster: str, epoch: int, **counts: int) -> Manifest:
    keyspace = Keyspace(cluster)
    stock = take_stock(store, keyspace, timeout_s=WAIT_S)
    stock = type(stock)(stock.revision, {**stock.counts, **counts}, stock.sum)
    manifest = Manifest(epoch, 1, stock, ManifestReason.HANDOVER, "node-a", "2026-01-01T00:00:00.000Z", {"workers": 99})
    store.call(Put(FailoverKeys(keyspace).of(manifest), manifest.to_value()), WAIT_S).result()
    return manifest


def test_a_manifest_is_shown_and_verified(slurp: Slurp, cluster: str, etcd_store: Store) -> None:
    slurp("submit", "a.py")
    left = leave(etcd_store, cluster, 3)
    (shown,) = slurp("failover", "show", "--json").json["failovers"]
    assert (shown["epoch"], shown["manifests"], shown["check"]) == (3, [as_document(left.to_fields())], None)
    assert shown["manifests"][0]["node_id"] == "node-a"
    assert "at the handover" in slurp("failover", "show").out
    result = slurp("failover", "verify", "--json")
    assert (result.code, result.json["verdict"], result.json["left"]) == (0, "verified", result.json["found"])
    assert slurp("failover", "verify").out.splitlines() == ["epoch 3: verified", "  - workers: was 99, is 4 here"]
    assert slurp("failover", "show", "--epoch", 4).code == slurp("failover", "verify", "--epoch", 4).code == 5


def test_it_is_about_the_queue_of_the_cluster_and_names_no_election(slurp: Slurp, cluster: str) -> None:
    for verb in ("show", "verify", "manifest"):
        told = slurp("failover", verb, "--json").json
        assert told["cluster_id"] == cluster
        assert "election" not in told
        assert slurp("failover", verb, "--election", "reports").code == 2
    assert slurp("failover", "--election", "reports", "show").code == 2


def test_a_mismatch_is_named_and_is_a_failure(slurp: Slurp, cluster: str, etcd_store: Store) -> None:
    left = leave(etcd_store, cluster, 3, queue=2)
    result = slurp("failover", "verify", "--epoch", 3)
    assert result.code == 1
    assert f"mismatch: etcd had something else at revision {left.stock.revision}" in result.out
    assert "queue: 2 left, 0 found" in result.out


def test_where_there_is_none_or_none_that_can_be_read_it_says_so(slurp: Slurp, cluster: str, etcd_store: Store) -> None:
    shown = slurp("failover", "show")
    assert (shown.code, shown.out, shown.err) == (0, "", "slurp: no manifests\n")
    verified = slurp("failover", "verify")
    assert (verified.code, verified.out) == (5, "nothing: unverifiable: there is no manifest\n")
    etcd_store.call(Put(FailoverKeys(Keyspace(cluster)).manifest(7), b"\xff"), WAIT_S).result()
    shown = slurp("failover", "show")
    assert "cannot be read" in shown.out
    assert "not JSON" in shown.err
    assert slurp("failover", "verify").code == 5


def test_stock_can_be_taken_without_a_leader(slurp: Slurp, cluster: str) -> None:
    slurp("submit", "a.py")
    stock = slurp("failover", "manifest", "--json").json
    assert stock["counts"]["queue"] == 1
    assert len(stock["hash"]) == 32
    text = slurp("failover", "manifest").out
    assert stock["hash"] in text
    assert "1 queue" in text


def test_one_on_demand_is_shown_as_that(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    node.failover.manifest(WAIT_S)
    assert "on demand" in slurp("failover", "show").out
    assert slurp("failover", "verify").code == 0
