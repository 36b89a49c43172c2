"""Locks in a forked child, which gets none of the threads that held them at that moment.

Such a lock would be held for ever. What a lock of ours guards is whole again after each step or two, so the child may
go on with the copy it got; what belongs to the parent it is kept from by the process id, wherever that matters.

**Which locks need it**: those that a child can come to, and no others. They are those

* of the process: at the level of a module or a class;
* of what a program makes for itself and uses wherever it likes: a fence, a breaker, a generator, a meter, a store in
  memory, checks, and all that waits for its `start`;
* of what was handed out while something ran, and may still be in somebody's hands: a term, an election, the context or
  the handle of a job.

What lies behind a look at the process id needs none: no child comes there. And a free lock does not bring what a child
would wait for: who waits without end looks at the process id too, or at an event of `set_in_child`.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, TypeVar

L = TypeVar("L")

_locks: weakref.WeakSet[Any] = weakref.WeakSet()
"""Weakly: a lock goes with what it guards."""
_ends: weakref.WeakSet[threading.Event] = weakref.WeakSet()


def free_in_child(lock: L) -> L:
    """The same lock, condition or event, which a forked child finds free: also when a thread of the parent held it.

    What forks while it holds an `RLock`, or a condition on one, goes on in the child, and will release it itself. A
    plain lock does not know who holds it, and is free there all the same: who calls anything that could fork while it
    holds one looks before it releases it.
    """
    _locks.add(lock)
    return lock


def set_in_child(event: threading.Event) -> threading.Event:
    """The same event, which a forked child finds set: it says that something is over, as everything is there."""
    _ends.add(event)
    return free_in_child(event)


def _free() -> None:
    for lock in _locks:
        # Of a condition its own lock is asked: on a plain one it takes itself for owned whoever holds it.
        if not getattr(getattr(lock, "_lock", lock), "_is_owned", bool)():
            lock._at_fork_reinit()
    for event in _ends:
        event.set()


os.register_at_fork(after_in_child=_free)
