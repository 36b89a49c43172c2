"""``system.queue``: how the queue stands, and the orders that change it; from any process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from slurp_leader.clock import Clock
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.picking.control import ALL
from slurp_leader.jobs.queue_orders import QueueOrdered, QueueOrders
from slurp_leader.jobs.queue_status import Places, QueueStatus, queue_status
from slurp_leader.jobs.records import JobKeys
from slurp_leader.jobs.reports import read_picture
from slurp_leader.store import Store
from slurp_leader.system.aio import AsyncFace

QUEUE_VERBS = frozenset({"drain", "limits", "pause", "resume", "status", "workers"})
"""Each asks etcd, and so may wait."""


class QueueView:
    """How the queue stands, and what changes it: for operators, from any process.

    Orders are one record in etcd: in force as soon as the leader has heard of it, a few milliseconds after the call has
    returned, and under every later leader, until they are taken back. Each says who gave it (`by`; unset: ``node.id``
    of this process) and why. A *scope* says whom it is about: ``all``, ``role:NAME`` or ``project:NAME``; of limits
    also ``each-role`` and ``each-project``, for those without a limit of their own.
    Each order raises:

    * ConfigurationError: A scope, a number or a reason makes no sense. Nothing was ordered.
    * OrderRefusedError: A later version of this library wrote what is ordered, or others never cease to give orders.
    * StoreError: etcd did not answer; `outcome` says whether the order may be in force. It can be repeated.
    * LifecycleError: Not started.

    Args:
        store: Where calls go; raises LifecycleError while nothing runs.
        keys: Of the jobs.
        options: Settings of this process.
        clock: Source of time.
        by: Who orders, where that is not said.
        stuck: Slots and memory that stuck runs take, if this process leads.
        places: Slots that a leader has, where this process knows the generator.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        keys: JobKeys,
        options: JobsOptions,
        clock: Clock,
        by: str,
        stuck: Callable[[], tuple[int, int]],
        places: Callable[[], Places | None],
    ) -> None:
        self._store = store
        self._keys = keys
        self._options = options
        self._clock = clock
        self._by = by
        self._stuck = stuck
        self._places = places
        self.aio = AsyncFace(lambda name: getattr(self, name), QUEUE_VERBS)
        """The verbs, awaited: ``await system.queue.aio.pause()``."""

    def __repr__(self) -> str:
        return "<QueueView: status, pause, resume, drain, limits, workers>"

    def status(self) -> QueueStatus:
        """How the queue stands, read from etcd at one revision. It reads all live jobs. Which jobs wait for runs that
        do not stop is known in the leader's process only.

        Raises:
            StoreError: etcd did not answer.
            LifecycleError: Not started.
        """
        picture = read_picture(self._store(), self._keys, self._options.rpc_timeout_s)
        return queue_status(picture, self._options, self._clock.utcnow(), self._stuck(), self._places())

    def pause(self, scope: str = ALL, why: str = "", *, by: str = "") -> QueueOrdered:
        """Start no jobs of this scope until `resume`. What runs goes on, and new jobs are taken."""
        return self._orders(by).pause(scope, why)

    def resume(self, scope: str = ALL, why: str = "", *, by: str = "") -> QueueOrdered:
        """Start jobs of this scope again; of ``all`` it ends a drain too. Pauses of other scopes stay."""
        return self._orders(by).resume(scope, why)

    def drain(self, why: str = "", *, by: str = "") -> QueueOrdered:
        """Take no new jobs (`submit` raises QueueFullError), and work off those that are there; until `resume`."""
        return self._orders(by).drain(why)

    def limits(self, limits: Mapping[str, int | None], why: str = "", *, by: str = "") -> QueueOrdered:
        """Let at most so many jobs of each scope run at once, in the cluster: ``{"role:tester": 2, "all": 50}``. None
        takes a limit away, so that the settings hold again; 0 lets none start. What runs goes on."""
        return self._orders(by).limits(limits, why)

    def workers(self, count: int | None, why: str = "", *, by: str = "") -> QueueOrdered:
        """Let each leader have so many workers, whatever its settings say; None: as they say. With fewer, what runs
        goes on, and no further job is started until enough have ended."""
        return self._orders(by).workers(count, why)

    def _orders(self, by: str) -> QueueOrders:
        return QueueOrders(self._store(), self._keys, self._clock, self._options.rpc_timeout_s, by or self._by)
