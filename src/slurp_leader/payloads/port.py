"""What a payload store is: the port that `FolderPayloadStore` and `FsspecPayloadStore` fill, and users may."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from slurp_leader.errors import PayloadCorruptError, PayloadError

_REFERENCE = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{16}\.part")

SHARDS = tuple(f"{number:02x}" for number in range(256))
"""First two digits of references: payloads are spread over folders of these names, and listed one folder at a time."""


@dataclass(frozen=True, slots=True)
class PayloadEntry:
    """One thing that lies in a store.

    Attributes:
        reference: Of a payload; or the name of what a write left that did not come to its end, ``{hash}.{x}.part``.
        size: Bytes.
        touched_at: When it was put or touched last, by the calendar of the store. None: the store does not tell.
    """

    reference: str
    size: int
    touched_at: datetime | None


class PayloadStore(Protocol):
    """Keeps bytes under their hash. Every method may wait for a disk or a network, and is called from any thread.

    All raise `PayloadStoreError` when the store did not do it: of a `put` it is then unknown whether it happened, and
    it may be repeated.
    """

    def put(self, data: bytes) -> str:
        """Keep `data`, durably, and return its reference. If it is there already, its time is refreshed: who puts it
        is about to refer to it, and it must not be taken for an orphan (PROTOCOL A28)."""
        ...

    def get(self, reference: str) -> bytes:
        """The bytes of a reference, verified against it.

        Raises:
            PayloadMissingError: They are not there.
            PayloadCorruptError: Other bytes are there.
        """
        ...

    def touch(self, reference: str) -> None:
        """Refresh the time of a payload.

        Raises:
            PayloadMissingError: It is not there.
        """
        ...

    def delete(self, reference: str, *, untouched_since: datetime | None = None) -> bool:
        """Delete a payload, or what a write left. False: it is not there, or was touched after `untouched_since`, and
        then it stays."""
        ...

    def list(self, shard: str) -> Iterator[PayloadEntry]:
        """What lies in one of `SHARDS`, in any order. What comes or goes meanwhile may be missed."""
        ...


def reference_of(data: bytes) -> str:
    """The reference of these bytes: their SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def is_reference(text: str) -> bool:
    """Whether `text` has the form of a reference."""
    return bool(_REFERENCE.fullmatch(text))


def is_entry_name(text: str) -> bool:
    """Whether `text` names a payload, or what a write left. Anything else in a store is not ours."""
    return bool(_REFERENCE.fullmatch(text) or _PART.fullmatch(text))


def check_reference(reference: str) -> str:
    """The reference, which may come from a forged record and becomes a part of a path.

    Raises:
        PayloadError: It is none.
    """
    if not is_reference(reference):
        raise PayloadError(f"{reference!r:.100} is not a reference: 64 hex digits", reference=reference[:100])
    return reference


def verified(reference: str, data: bytes) -> bytes:
    """The bytes, if they are those of the reference.

    Raises:
        PayloadCorruptError: They are not.
    """
    found = reference_of(data)
    if found != reference:
        raise PayloadCorruptError(
            f"payload {reference}: {len(data)} other bytes are there, with the hash {found}", reference=reference
        )
    return data
