"""The records under ``b/failover/``, and the keys that manifests are about, as etcd has them. Everything here waits for
etcd, for as long as its caller says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from slurp_leader.clock import Clock, format_utc
from slurp_leader.errors import NotLeaderError, RecordError, RevisionCompactedError
from slurp_leader.failover.manifest import FailoverKeys, Manifest, ManifestReason
from slurp_leader.failover.verification import Verdict, Verification, judge, misplaced, read_check
from slurp_leader.jobs.inventory import Stock, stock_of
from slurp_leader.store import Get, KeyValue, Put, Store, Txn, prefix_end
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.pages import read_pages
from slurp_leader.term import Term

_PAGE = 1000
"""Keys without values: some hundred KiB."""


def take_stock(
    store: Store,
    keyspace: Keyspace,
    revision: int = 0,
    *,
    timeout_s: float,
    between: Callable[[], None] = lambda: None,
) -> Stock:
    """Count what there is in etcd at one revision, without the values.

    Args:
        store: Where to read.
        keyspace: Of the cluster.
        revision: 0: as of now.
        timeout_s: Seconds for each page.
        between: Called after each page; raises to give up.

    Raises:
        RevisionCompactedError: The revision is gone, be it in the middle of reading.
        StoreError: etcd did not answer, or refused.
    """
    mirrored = keyspace.mirrored
    pages = read_pages(
        store, mirrored, prefix_end(mirrored), timeout_s=timeout_s, page=_PAGE, revision=revision, keys_only=True
    )
    first = next(pages)

    def kvs() -> Iterator[KeyValue]:
        yield from first.kvs
        for page in pages:
            between()
            yield from page.kvs

    return stock_of(mirrored, revision or first.header.revision, kvs())


@dataclass(frozen=True, slots=True)
class Kept:
    """What there is of one epoch. A record that cannot be read is an error in words."""

    epoch: int
    manifests: tuple[Manifest, ...] = ()
    check: dict[str, Any] | None = None
    errors: tuple[str, ...] = ()

    def to_fields(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "epoch": self.epoch,
            "manifests": [manifest.to_fields() for manifest in self.manifests],
            "check": self.check,
            "errors": list(self.errors),
        }


def read_kept(store: Store, keys: FailoverKeys, timeout_s: float) -> list[Kept]:
    """Everything that is kept, the newest epoch first.

    Raises:
        StoreError: etcd did not answer, or refused.
    """
    found = store.call(Get(keys.prefix, prefix_end(keys.prefix)), timeout_s).result()
    kept: dict[int, Kept] = {}
    for kv in found.kvs:
        epoch, _, what = kv.key[len(keys.prefix) :].decode("ascii", "replace").partition("-")
        if not (epoch.isdigit() and len(epoch) == 10):
            continue  # none of ours
        entry = kept.get(int(epoch), Kept(int(epoch)))
        try:
            if what == "check":
                entry = replace(entry, check=read_check(kv))
            else:
                entry = replace(entry, manifests=(*entry.manifests, Manifest.from_value(kv)))
        except RecordError as error:
            entry = replace(entry, errors=(*entry.errors, str(error)))
        kept[entry.epoch] = entry
    return [kept[epoch] for epoch in sorted(kept, reverse=True)]


def verify(
    store: Store,
    keyspace: Keyspace,
    key: bytes,
    epoch: int,
    *,
    clock: Clock,
    timeout_s: float,
    token: int | None = None,
    settings: Mapping[str, Any] | None = None,
    between: Callable[[], None] = lambda: None,
) -> Verification:
    """Read a manifest, and what it is about, and compare.

    Args:
        store: Where to read.
        keyspace: Of the cluster.
        key: Of the manifest.
        epoch: Of the term it was left for.
        clock: Source of time.
        timeout_s: Seconds for each call.
        token: Revision at which it must have been written; None: not known.
        settings: In force here, to be compared too.
        between: Called after each page; raises to give up.

    Raises:
        StoreError: etcd did not answer, or refused. Nothing is known.
    """
    began = clock.boottime()
    result = _verify(store, keyspace, key, epoch, timeout_s, token, settings or {}, between)
    return replace(result, at=format_utc(clock.utcnow()), took_s=clock.boottime() - began)


def _verify(
    store: Store,
    keyspace: Keyspace,
    key: bytes,
    epoch: int,
    timeout_s: float,
    token: int | None,
    settings: Mapping[str, Any],
    between: Callable[[], None],
) -> Verification:
    kvs = store.call(Get(key), timeout_s).result().kvs
    if not kvs:
        return Verification(epoch, Verdict.UNVERIFIABLE, f"there is no {key.decode()}")
    try:
        manifest = Manifest.from_value(kvs[0])
    except RecordError as error:
        return Verification(epoch, Verdict.UNVERIFIABLE, str(error))
    why = misplaced(manifest, token)
    if why:
        return Verification(epoch, Verdict.MISMATCH, why, left=manifest.stock)
    at = manifest.stock.revision
    try:
        found = take_stock(store, keyspace, at, timeout_s=timeout_s, between=between)
    except RevisionCompactedError:
        why = f"revision {at} is compacted: etcd cannot say any more what there was"
        return Verification(epoch, Verdict.UNVERIFIABLE, why, left=manifest.stock)
    return judge(manifest, found, settings)


def verify_kept(
    store: Store,
    keyspace: Keyspace,
    epoch: int | None,
    clock: Clock,
    timeout_s: float,
    settings: Mapping[str, Any] | None = None,
) -> Verification:
    """Verify the newest manifest, of this epoch or of all. Waits for etcd.

    Raises:
        StoreError: etcd did not answer, or refused.
    """
    keys = FailoverKeys(keyspace)
    kept = [each for each in read_kept(store, keys, timeout_s) if epoch is None or each.epoch == epoch]
    manifests = [manifest for each in kept for manifest in each.manifests]
    if not manifests:
        errors = [error for each in kept for error in each.errors]
        of = "" if epoch is None else f" of epoch {epoch}"
        return Verification(epoch or 0, Verdict.UNVERIFIABLE, "; ".join(errors) or f"there is no manifest{of}")
    newest = max(manifests, key=lambda manifest: manifest.revision)
    return verify(
        store,
        keyspace,
        keys.of(newest),
        newest.epoch,
        clock=clock,
        timeout_s=timeout_s,
        settings=settings,
    )


def write_demanded(store: Store, keys: FailoverKeys, term: Term, manifest: Manifest, timeout_s: float) -> Manifest:
    """Write a manifest that was asked for, under the fence of the term.

    Raises:
        NotLeaderError: The term is over. Nothing was written.
        StoreError: No definite answer: it may have been written. It may be asked for again.
    """
    assert manifest.reason is ManifestReason.DEMAND
    put = Put(keys.of(manifest), manifest.to_value())
    txn = Txn(term.fence(), (put, *keys.make_room(manifest.epoch)))
    result = store.call(txn, timeout_s).result()
    if not result.succeeded:
        raise NotLeaderError(f"the term of {term.node_id!r} with token {term.token} is over")
    return replace(manifest, revision=result.header.revision)
