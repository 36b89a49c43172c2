"""A fence for one process: the newest tokens in a table."""

from __future__ import annotations

import threading
from operator import itemgetter

from slurp_leader.errors import ConfigurationError
from slurp_leader.fencing.gate import check_resource, check_token, stale
from slurp_leader.forks import free_in_child

_FORGOTTEN_AT_ONCE = 8
"""An eighth of the table is forgotten at a time, so that sorting it costs little for each resource."""


class MemoryFence:
    """A `FenceGate` in memory. Safe to use from any thread; never blocks for long.

    **What is forgotten.** At most `capacity` resources are kept. Beyond that those with the oldest tokens are
    forgotten, and the newest token among these becomes the *floor*: for a resource that is not in the table, a token
    below the floor is refused. So forgetting never lets a stale token through. Its cost is the other error: a job that
    is right to finish under an old claim is refused if its resource is not in the table and the floor has passed its
    token. A gate that sees tokens of terms only (not of jobs) never refuses the leader of the day.

    **What is not safe.** A new process has seen nothing, and lets the first token through, whichever it is. Where that
    matters, begin with a floor (``election.leader.token`` of a moment ago), or keep tokens beside the data: `SqlFence`.

    Args:
        capacity: Most resources to keep, 1 or more. A larger one costs about 200 bytes each.
        floor: Refuse smaller tokens for every resource that is not in the table; 0: none.

    Raises:
        ConfigurationError: `capacity` or `floor` is out of range.
    """

    def __init__(self, *, capacity: int = 100_000, floor: int = 0) -> None:
        if capacity < 1:
            raise ConfigurationError(f"capacity = {capacity!r}: keep at least 1 resource", field="capacity")
        if floor < 0:
            raise ConfigurationError(f"floor = {floor!r}: a token, or 0", field="floor")
        self._capacity = capacity
        self._lock = free_in_child(threading.Lock())
        # Guarded by _lock:
        self._newest: dict[str, int] = {}
        self._floor = floor

    def admit(self, token: int, resource: str) -> None:
        """Let a token through, and keep it if it is the newest.

        Raises:
            StaleTokenError: A newer one was seen, or the floor is above it.
            ValueError: Not a token, or not the name of a resource.
        """
        check_token(token)
        check_resource(resource)
        with self._lock:
            newest = self._newest.get(resource, self._floor)
            if token >= newest:
                self._newest[resource] = token
                if len(self._newest) > self._capacity:
                    self._forget_oldest()
                return
        raise stale(token, newest, resource)

    def newest(self, resource: str) -> int | None:
        """The newest token seen for a resource; None when it is not in the table."""
        with self._lock:
            return self._newest.get(resource)

    @property
    def floor(self) -> int:
        """The smallest token that a resource which is not in the table may begin with; 0: any."""
        with self._lock:
            return self._floor

    def __len__(self) -> int:
        with self._lock:
            return len(self._newest)

    def _forget_oldest(self) -> None:
        by_age = sorted(self._newest.items(), key=itemgetter(1))
        forgotten = by_age[: len(by_age) - self._capacity + self._capacity // _FORGOTTEN_AT_ONCE]
        for resource, _ in forgotten:
            del self._newest[resource]
        self._floor = max(self._floor, forgotten[-1][1])
