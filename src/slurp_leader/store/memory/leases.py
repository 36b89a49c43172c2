"""Leases: who holds which keys, until when. Knows nothing of revisions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from slurp_leader.errors import LeaseExistsError, LeaseNotFoundError, RequestMalformedError

MIN_TTL_S = 2
"""etcd raises shorter ones: one and a half of its default election timeout, in whole seconds."""

MAX_TTL_S = 9_000_000_000


@dataclass(slots=True)
class _Lease:
    ttl_s: int
    expires_at: float
    keys: set[bytes] = field(default_factory=set)


class Leases:
    """All leases of a store. Times are seconds of the store's clock."""

    def __init__(self) -> None:
        self._leases: dict[int, _Lease] = {}
        # No lease expires before this. A renewal leaves it too early; the next look at it puts that right.
        self._earliest = math.inf

    def __len__(self) -> int:
        return len(self._leases)

    def grant(self, lease_id: int, ttl_s: int, now: float) -> tuple[int, int]:
        """Create a lease; id 0 lets the store choose. Returns the id and the TTL granted."""
        if ttl_s > MAX_TTL_S:
            raise RequestMalformedError(f"a TTL of {ttl_s} s is too long; etcd allows {MAX_TTL_S}")
        if lease_id in self._leases:
            raise LeaseExistsError(f"lease {lease_id} exists")
        lease_id = lease_id or max(self._leases, default=0) + 1
        granted = max(ttl_s, MIN_TTL_S)
        self._leases[lease_id] = _Lease(granted, now + granted)
        self._earliest = min(self._earliest, now + granted)
        return lease_id, granted

    def renew(self, lease_id: int, now: float) -> int:
        """Start the lease anew. Returns its TTL, or 0 when it is gone."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return 0
        lease.expires_at = now + lease.ttl_s
        return lease.ttl_s

    def drop(self, lease_id: int) -> list[bytes]:
        """Forget a lease. Returns its keys in byte order: they have to go with it."""
        self.check(lease_id)
        return sorted(self._leases.pop(lease_id).keys)

    def check(self, lease_id: int) -> None:
        """Refuse an unknown lease; 0 means none and is fine."""
        if lease_id and lease_id not in self._leases:
            raise LeaseNotFoundError(f"lease {lease_id} is gone")

    def move(self, key: bytes, before: int, after: int) -> None:
        """Note that a key left the lease `before` for the lease `after`; 0 is none."""
        if before and before in self._leases:
            self._leases[before].keys.discard(key)
        if after:
            self._leases[after].keys.add(key)

    def due(self, now: float) -> list[int]:
        """Leases whose time is up, the longest overdue first."""
        if now < self._earliest:
            return []
        over = sorted((lease.expires_at, id_) for id_, lease in self._leases.items() if lease.expires_at <= now)
        left = (lease.expires_at for lease in self._leases.values() if lease.expires_at > now)
        self._earliest = min(left, default=math.inf)
        return [id_ for _, id_ in over]

    def earliest(self) -> float:
        """When to look at `due` next: no lease expires before; infinity when there is none."""
        return self._earliest
