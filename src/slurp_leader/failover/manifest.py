"""The manifest: what a leader had seen at one revision. A value, and its records under ``b/failover/``.

============================  =======================================================================================
``b/failover/{epoch}``        left for the term of this epoch, in the transaction of the handover that began it
``b/failover/{epoch}-demand`` the newest that was asked for during this term
``b/failover/{epoch}-check``  a `slurp_leader.failover.verification.Verification`: what the successor found
============================  =======================================================================================

Epochs have ten digits, so that keys sort as they came, and the write that adds an epoch deletes all below the newest
`KEPT` in the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from pydantic_core import to_json

from slurp_leader.errors import RecordError
from slurp_leader.jobs.inventory import Stock
from slurp_leader.store import Delete, KeyValue
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.records import SCHEMA, read_object

KEPT = 20
"""Records of so many epochs are kept."""
_LARGEST = 64 * 1024
"""Bytes. Ours are below 2 KiB; nobody spends time on a larger one."""
_MOST_EPOCH = 10**10


class ManifestReason(StrEnum):
    HANDOVER = "handover"
    DEMAND = "demand"


class FailoverKeys:
    """Keys of one cluster's manifests."""

    __slots__ = ("prefix",)

    def __init__(self, keyspace: Keyspace) -> None:
        self.prefix = keyspace.bulk + b"failover/"

    def manifest(self, epoch: int) -> bytes:
        """Left for the term with this epoch."""
        return self.prefix + b"%010d" % epoch

    def of(self, manifest: Manifest) -> bytes:
        """Where this one stands."""
        return self.prefix + _name_of(manifest)

    def check(self, epoch: int) -> bytes:
        """What the leader of this epoch found."""
        return self.manifest(epoch) + b"-check"

    def make_room(self, epoch: int) -> tuple[Delete, ...]:
        """What a write of this epoch deletes. A range: of epochs that began without a handover there is no record that
        would make room for another."""
        oldest = epoch - KEPT + 1
        return (Delete(self.prefix, self.manifest(oldest)),) if oldest > 1 else ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a leader had seen.

    Attributes:
        epoch: Of the term it was left for; one on demand: of the term it was written in.
        token: Of the leader that wrote it.
        stock: What there was, and at which revision.
        node_id, at: Who wrote it and when (UTC, by that machine's clock), for people.
        settings: In force under that leader: limits and retention.
        control: Pruning floor, whether new jobs were refused, and what was ordered for the queue.
        revision: Of the record itself; 0: not read from etcd.
    """

    epoch: int
    token: int
    stock: Stock
    reason: ManifestReason
    node_id: str = ""
    at: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Any] = field(default_factory=dict)
    revision: int = field(default=0, compare=False)

    def to_fields(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "epoch": self.epoch,
            "token": self.token,
            "revision": self.stock.revision,
            "reason": self.reason.value,
            "node": self.node_id,
            "at": self.at,
            "counts": dict(self.stock.counts),
            "hash": self.stock.hash,
            "settings": dict(self.settings),
            "control": dict(self.control),
        }

    def to_value(self) -> bytes:
        data = {"schema": SCHEMA, **self.to_fields()}
        return to_json({**data, "sum": _checksum(data)})

    @classmethod
    def from_value(cls, kv: KeyValue) -> Manifest:
        """Read a manifest.

        Raises:
            RecordError: Truncated, forged, of another schema version, or under a key that is not its own.
        """
        name = kv.key.decode("ascii", "replace")
        if len(kv.value) > _LARGEST:
            raise RecordError(f"{name}: manifest: {len(kv.value)} bytes are too many", key=name)
        data = read_object(kv.key, kv.value)
        try:
            if data.pop("sum") != _checksum(data):
                raise ValueError("the checksum does not match")
            manifest = cls(
                epoch=_whole(data["epoch"], _MOST_EPOCH),
                token=_whole(data["token"]),
                stock=Stock(_revision(data["revision"]), _counts(data["counts"]), _sum(data["hash"])),
                reason=ManifestReason(data["reason"]),
                node_id=_text(data["node"]),
                at=_text(data["at"]),
                settings=_object(data["settings"]),
                control=_object(data["control"]),
                revision=kv.mod_revision,
            )
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise RecordError(f"{name}: manifest: {error!r:.200}", key=name) from error
        if kv.key.rpartition(b"/")[2] != _name_of(manifest):
            raise RecordError(f"{name}: manifest: it is one of epoch {manifest.epoch}, {manifest.reason}", key=name)
        return manifest


def _name_of(manifest: Manifest) -> bytes:
    """The last part of its key."""
    return b"%010d" % manifest.epoch + (b"-demand" if manifest.reason is ManifestReason.DEMAND else b"")


def changed_settings(manifest: Manifest, own: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is not in force any more: the value that was, and this node's own. Of names that both know."""
    return {
        name: (before, own[name]) for name, before in manifest.settings.items() if name in own and own[name] != before
    }


# ---------------------------------------------------------------- reading fields


def _checksum(data: Mapping[str, Any]) -> str:
    """Over everything else, unknown fields included."""
    canonical = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return blake2b(canonical.encode(), digest_size=16).hexdigest()


def _counts(value: Any) -> dict[str, int]:
    return {_text(kind): _whole(count) for kind, count in _object(value).items()}


def _sum(value: Any) -> int:
    if len(_text(value)) != 32:
        raise ValueError(f"{value!r:.100} is no hash")
    return int(value, 16)


def _revision(value: Any) -> int:
    if _whole(value) == 0:  # to etcd that means "now"
        raise ValueError("revision 0 is none")
    return int(value)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.100} is not an object")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.100} is not text")
    return value


def _whole(value: Any, below: int = 2**62) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < below:
        raise ValueError(f"{value!r:.100} is not a whole number from 0 on")
    return value
