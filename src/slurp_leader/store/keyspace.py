"""Where one cluster's keys live.

``/slurp/v1/{cluster_id}/m/``
    What every candidate keeps in memory: the election, the nodes, and the records of live jobs. One watch over this
    one range carries all of it, so that "seen up to revision R" is true of all kinds at once (PROTOCOL A15).

``/slurp/v1/{cluster_id}/b/``
    Bulk: outcomes, idempotency keys, progress, history, the last runs of periodic work. Read by key, or watched one
    kind at a time by those who wait for it; never mirrored.
"""

from __future__ import annotations

import re

from slurp_leader.errors import ConfigurationError

_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Keyspace:
    """Prefixes of one cluster. All keys are ASCII bytes."""

    __slots__ = ("bulk", "cluster_id", "mirrored")

    def __init__(self, cluster_id: str = "default") -> None:
        self.cluster_id = key_segment("node.cluster_id", cluster_id)
        root = f"/slurp/v1/{cluster_id}/".encode()
        self.mirrored = root + b"m/"
        self.bulk = root + b"b/"


def key_segment(field: str, text: str) -> str:
    """Check that `text` can stand between two slashes of a key.

    Raises:
        ConfigurationError: It cannot; message and error name `field`.
    """
    if not _SEGMENT.fullmatch(text) or text in {".", ".."}:
        raise ConfigurationError(
            f"{field}: {text!r:.160} cannot be part of a key; use 1 to 128 of letters, digits, '.', '_' and '-'",
            field=field,
        )
    return text
