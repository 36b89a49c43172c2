"""One guard for each process and etcd, however many elections there are."""

from __future__ import annotations

import os
import threading

from slurp_leader.clock import Clock
from slurp_leader.forks import free_in_child
from slurp_leader.guard.client import GuardClient, GuardTrouble
from slurp_leader.guard.messages import Route, Told

_lock = free_in_child(threading.Lock())
_users: dict[tuple[int, Route], tuple[GuardClient, int]] = {}
"""By process, as a forked child has none of its parent's: the client, and how many use it."""


class SharedGuard:
    """A share in the guard of this process. Same verbs as `GuardClient`; the guard ends with the last share.

    Args:
        route: How the guard reaches etcd.
        clock: Source of time.
    """

    def __init__(self, route: Route, clock: Clock | None = None) -> None:
        self._key = (os.getpid(), route)
        with _lock:
            self.client, users = _users.get(self._key) or (GuardClient(route, clock), 0)
            _users[self._key] = (self.client, users + 1)
        self._released = False

    @property
    def trouble(self) -> GuardTrouble | None:
        """See `GuardClient.trouble`."""
        return self.client.trouble

    def hold(self, lease_id: int, ttl_s: float, stall_s: float) -> Told:
        """See `GuardClient.hold`."""
        return self.client.hold(lease_id, ttl_s, stall_s)

    def beat(self, lease_id: int) -> Told:
        """See `GuardClient.beat`."""
        return self.client.beat(lease_id)

    def drop(self, lease_id: int) -> None:
        """See `GuardClient.drop`."""
        self.client.drop(lease_id)

    def kill_group(self, group: int) -> None:
        """See `GuardClient.kill_group`."""
        self.client.kill_group(group)

    def release(self) -> None:
        """Give the share back. Safe twice; a forked child cannot end its parent's guard by it (`GuardClient.close`)."""
        if self._released:
            return
        self._released = True
        with _lock:
            client, users = _users[self._key]
            if users > 1:
                _users[self._key] = (client, users - 1)
                return
            del _users[self._key]
        client.close()
