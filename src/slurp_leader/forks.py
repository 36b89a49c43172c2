"""Locks in a forked child, which gets none of the threads that held them at that moment.

Such a lock would be held for ever. What a lock of ours guards is whole again after each step or two, so the child may
go on with the copy it got; what belongs to the parent it is kept from by the process id, wherever that matters.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, TypeVar

L = TypeVar("L")

_locks: weakref.WeakSet[Any] = weakref.WeakSet()
"""Weakly: a lock goes with what it guards."""


def free_in_child(lock: L) -> L:
    """The same lock or condition, which a forked child finds free: also when a thread of the parent held it."""
    _locks.add(lock)
    return lock


def _free() -> None:
    for lock in _locks:
        # What forked while it held a lock goes on in the child, and will release it itself.
        if not getattr(lock, "_is_owned", bool)():
            lock._at_fork_reinit()


os.register_at_fork(after_in_child=_free)
