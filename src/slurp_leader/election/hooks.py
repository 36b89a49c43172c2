"""Hooks: what a service wants to do when it stands by, is elected, leads, or has lost.

======================  ===================================================================================
``on_standby()``        stands, and somebody else leads or nobody does; not while it is being stopped
``on_elected(term)``    the key is taken and proved, nobody is told yet; may veto: raise, or return False
``on_leading(term)``    leads from now on
``on_lost(term, why)``  the term is over
======================  ===================================================================================

They run on threads of their own, in order; renewal never waits for one. `on_elected` has a thread of its own, so that
one that hangs holds up no other, and none holds it up: an `on_standby` that is slow may end after it. When its time is
over it counts as a veto, and so does each later term as long as it still runs: it never runs twice at a time.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import queue
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from slurp_leader.errors import repr_of
from slurp_leader.forks import free_in_child
from slurp_leader.telemetry import metrics as instruments
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics, NoMetrics
from slurp_leader.term import Term

_logger = logging.getLogger("slurp_leader.election")

Hook = Callable[..., Any]
"""Sync or async. Takes as many of the arguments named above as it wants."""


_Orders = queue.SimpleQueue[tuple["HookKind", tuple[Any, ...]] | None]


class HookKind(StrEnum):
    """When a hook is called."""

    STANDBY = "on_standby"
    ELECTED = "on_elected"
    LEADING = "on_leading"
    LOST = "on_lost"
    QUEUE_LEVEL = "on_queue_level"
    """Of a node that runs the queue beside its election."""


class Hooks:
    """The hooks of one election. Safe to use from any thread.

    Args:
        election: Its name, for logs and metrics.
        timeout_s: What a hook may take before it is reported, and `on_elected` counts as a veto.
        metrics: Where measurements go.
    """

    def __init__(self, election: str, timeout_s: float, metrics: Metrics | None = None) -> None:
        self._election = election
        self._timeout_s = timeout_s
        self._metrics = metrics or NoMetrics()
        self._hooks: dict[HookKind, tuple[Hook, ...]] = dict.fromkeys(HookKind, ())
        self._lock = free_in_child(threading.Lock())
        # Guarded by _lock:
        self._queue: _Orders = queue.SimpleQueue()  # of the thread: one that hangs takes its own along
        self._thread: threading.Thread | None = None
        self._running: dict[object, str] = {}
        self._slow: set[object] = set()  # which of those
        self._asking = False  # whether the hooks of some term are being asked

    def add(self, kind: HookKind, hook: Hook) -> None:
        """Call `hook` from now on."""
        self._hooks = {**self._hooks, kind: (*self._hooks[kind], hook)}

    @property
    def may_veto(self) -> bool:
        """Whether anybody has to be asked before this node leads."""
        return bool(self._hooks[HookKind.ELECTED])

    @property
    def slow(self) -> tuple[str, ...]:
        """Hooks that run at present, and longer than they may."""
        with self._lock:
            return tuple(self._running[call] for call in self._slow)

    def stop(self) -> None:
        """End after what is queued; a hook that hangs is left alone after its time. The next `call` begins anew."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._queue.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._timeout_s)

    def call(self, kind: HookKind, *arguments: Any) -> None:
        """Have the hooks of a kind called, after all earlier ones."""
        if not self._hooks[kind]:
            return
        with self._lock:
            if self._thread is None:
                self._queue = queue.SimpleQueue()
                name = "slurp-election-hooks"
                self._thread = threading.Thread(target=self._run, args=(self._queue,), name=name, daemon=True)
                self._thread.start()
            self._queue.put((kind, arguments))

    def ask(self, term: Term, then: Callable[[str], None]) -> None:
        """Ask all `on_elected` hooks; `then` is told, on another thread, why one of them vetoes, or an empty text.

        While those of an earlier term are still being asked none is called: that is a veto, told at once. Else one that
        hangs would get one more thread in each term.
        """

        def asking() -> None:
            answers = (self._call_one(HookKind.ELECTED, hook, (term,)) for hook in self._hooks[HookKind.ELECTED])
            try:
                veto = next(filter(None, answers), "")
            finally:
                with self._lock:
                    self._asking = False
            then(veto)

        with self._lock:
            hangs = self._still_asked() if self._asking else ""
            if not hangs:
                threading.Thread(target=asking, name="slurp-election-elected", daemon=True).start()
                self._asking = True
        if hangs:
            then(f"{hangs} of an earlier term still runs")

    def _still_asked(self) -> str:
        """With the lock held: the hook that the present asking waits for."""
        kind = HookKind.ELECTED.value
        return next((name for name in self._running.values() if name.startswith(kind)), kind)

    def _run(self, orders: _Orders) -> None:
        while (order := orders.get()) is not None:
            kind, arguments = order
            for hook in self._hooks[kind]:
                self._call_one(kind, hook, arguments)

    def _call_one(self, kind: HookKind, hook: Hook, arguments: tuple[Any, ...]) -> str:
        """Call one hook. Returns why it does not agree; empty when it does."""
        name = f"{kind.value} {getattr(hook, '__qualname__', repr(hook))}"
        call = object()
        with self._lock:
            self._running[call] = name
        watch = threading.Timer(self._timeout_s, self._note_slow, (kind, name, call))
        watch.daemon = True
        watch.start()
        outcome, why = "ok", ""
        try:
            answer = hook(*_fitting(hook, arguments))
            if inspect.isawaitable(answer):
                answer = asyncio.run(_awaited(answer))
            if kind is HookKind.ELECTED and answer is False:
                outcome, why = "vetoed", f"{name} returned False"
        except BaseException as error:  # SystemExit too: on this thread it would end nothing but the hooks
            outcome, why = "raised", f"{name} raised {repr_of(error)}"
            log_event(_logger, logging.ERROR, LogEvent.ELECTION_HOOK_FAILED, election=self._election, hook=name)
            _logger.exception("a hook raised")
        finally:
            watch.cancel()
            with self._lock:
                del self._running[call]
                self._slow.discard(call)
        self._metrics.add(instruments.HOOKS, election=self._election, hook=kind.value, outcome=outcome)
        return why

    def _note_slow(self, kind: HookKind, name: str, call: object) -> None:
        with self._lock:
            if call not in self._running:
                return  # it has just ended
            self._slow.add(call)
        fields = {"election": self._election, "hook": name, "longer_than_s": self._timeout_s}
        log_event(_logger, logging.WARNING, LogEvent.ELECTION_HOOK_SLOW, **fields)
        self._metrics.add(instruments.HOOKS, election=self._election, hook=kind.value, outcome="slow")


async def _awaited(answer: Any) -> Any:
    return await answer


def _fitting(hook: Hook, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """As many of the arguments as the hook takes."""
    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):
        return arguments  # built in C, and does not say
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return arguments
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return arguments[: sum(parameter.kind in positional for parameter in parameters)]
