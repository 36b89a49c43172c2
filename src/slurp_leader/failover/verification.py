"""Whether what was left is what was found: the comparison, and its outcome as a value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic_core import to_json

from slurp_leader.errors import RecordError
from slurp_leader.failover.manifest import Manifest, changed_settings
from slurp_leader.jobs.inventory import Stock
from slurp_leader.store import KeyValue
from slurp_leader.store.records import SCHEMA, read_object


class Verdict(StrEnum):
    """What came of a check."""

    VERIFIED = "verified"
    """Etcd had, at that revision, what the manifest says."""
    MISMATCH = "mismatch"
    """It had not, or the manifest is not the one that was left."""
    UNVERIFIABLE = "unverifiable"
    """Nobody can tell: the revision is compacted, there is no manifest that can be read, or the term was over first."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Attributes:
        epoch: Of the term that the manifest was left for.
        verdict: What came of it.
        why: Of a mismatch and of what cannot be verified: in words.
        differences: Of a mismatch: each kind whose count differs, and the hash.
        left, found: The stock as the manifest has it, and as etcd had it; None: unknown.
        changed: Settings that are not in force any more: the value before, and the own one. Nothing is wrong with that.
        node_id, at: Who looked and when (UTC).
        took_s: How long it took.
    """

    epoch: int
    verdict: Verdict
    why: str = ""
    differences: tuple[str, ...] = ()
    left: Stock | None = None
    found: Stock | None = None
    changed: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    node_id: str = ""
    at: str = ""
    took_s: float = 0.0

    def to_fields(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "epoch": self.epoch,
            "verdict": self.verdict.value,
            "why": self.why,
            "differences": list(self.differences),
            "revision": self.left.revision if self.left else None,
            "left": _stock_fields(self.left),
            "found": _stock_fields(self.found),
            "settings_changed": {name: list(values) for name, values in self.changed.items()},
            "node": self.node_id,
            "at": self.at,
            "took_s": round(self.took_s, 3),
        }

    def to_value(self) -> bytes:
        return to_json({"schema": SCHEMA, **self.to_fields()})


def read_check(kv: KeyValue) -> dict[str, Any]:
    """A verification that was written down, as plain data; for people.

    Raises:
        RecordError: It cannot be read.
    """
    data = read_object(kv.key, kv.value)
    if data.get("verdict") not in list(Verdict):  # not a set: what was forged may have no hash
        name = kv.key.decode("ascii", "replace")
        raise RecordError(f"{name}: verification: {data.get('verdict')!r:.100} is no verdict", key=name)
    del data["schema"]
    return data


def judge(manifest: Manifest, found: Stock, settings: Mapping[str, Any]) -> Verification:
    """Compare a manifest with what etcd had at its revision, and its settings with the own ones."""
    changed = changed_settings(manifest, settings)
    left = manifest.stock
    differences = [
        f"{kind}: {left.counts.get(kind, 0)} left, {found.counts.get(kind, 0)} found"
        for kind in sorted({*left.counts, *found.counts})
        if left.counts.get(kind, 0) != found.counts.get(kind, 0)
    ]
    if left.sum != found.sum:
        differences.append(f"hash: {left.hash} left, {found.hash} found")
    if not differences:
        return Verification(manifest.epoch, Verdict.VERIFIED, left=left, found=found, changed=changed)
    why = f"etcd had something else at revision {left.revision}"
    return Verification(manifest.epoch, Verdict.MISMATCH, why, tuple(differences), left, found, changed)


def misplaced(manifest: Manifest, token: int | None) -> str:
    """Why this cannot be what a leader left; empty: nothing speaks against it.

    Args:
        manifest: As read from etcd.
        token: Of the term that began with it: the revision at which it was written. None: not known.
    """
    if token is not None and manifest.revision != token:
        return f"it was written again at revision {manifest.revision}, the handover was {token}"
    if manifest.stock.revision >= manifest.revision:
        return f"it describes revision {manifest.stock.revision}, and was written at {manifest.revision}"
    return ""


def _stock_fields(stock: Stock | None) -> dict[str, Any] | None:
    return None if stock is None else {"counts": dict(stock.counts), "hash": stock.hash}
