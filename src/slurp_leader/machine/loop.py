"""The thread that drives one machine: events in, commands out, nothing decided here."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from slurp_leader.clock import Clock
from slurp_leader.errors import StoreError, StoreUnavailableError
from slurp_leader.machine.calls import Answer, Call, Tick
from slurp_leader.store import Store
from slurp_leader.telemetry.events import LogEvent, log_event

_logger = logging.getLogger("slurp_leader.machine")
_LONGEST_WAIT_S = 3600.0
_EVENTS_A_ROUND = 256
"""Events stepped before the commands they led to are sent: large enough for group commit to gather, small enough
that a flood of events does not delay an answer by more than a few milliseconds."""


class Machine(Protocol):
    """What a `Loop` can drive."""

    @property
    def wake_at(self) -> float:
        """When the machine wants a `Tick`, in boottime seconds; infinity: not by itself."""
        ...

    def step(self, event: Any, now: float) -> list[Any]:
        """Take one event, return the commands it leads to.

        A machine that has a ``step_many(events, now)`` too is handed all events of a round at once.
        """
        ...


class Loop:
    """One machine, one thread.

    Args:
        name: Name of the thread.
        machine: What to drive. Nobody else may step it.
        store: Where `Call` commands are sent.
        clock: Read once for each event.
        perform: Takes every command that is not a `Call`, on the loop's thread, in order. It must not block.
        on_failure: Called once if the machine raises: a bug. The loop has ended then.
    """

    def __init__(
        self,
        name: str,
        machine: Machine,
        store: Store,
        clock: Clock,
        perform: Callable[[Any], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._machine = machine
        self._store = store
        self._clock = clock
        self._perform = perform
        self._on_failure = on_failure
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ending = False
        self._step_many: Callable[[list[Any], float], list[Any]] | None = getattr(machine, "step_many", None)

    def start(self) -> None:
        self._thread.start()

    def post(self, event: Any) -> None:
        """Hand an event to the machine. Never blocks; safe from any thread, and after the end (then ignored)."""
        self._inbox.put(event)

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End the thread after the events posted so far. Safe twice, before `start`, and from the loop itself.

        Returns:
            Whether the thread has ended.
        """
        self._inbox.put(_END)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._ending:
                self._round()
        except BaseException as error:  # a bug in a machine: say so loudly, never go on half-alive
            log_event(_logger, logging.CRITICAL, LogEvent.LOOP_FAILED, loop=self._thread.name, error=repr(error))
            _logger.exception("%s failed", self._thread.name)
            self._on_failure(error)

    def _round(self) -> None:
        """Wait for an event or the machine's time, step all that is there, then send what it led to."""
        events = self._take_events()
        for command in self._step(events) if events else ():
            if isinstance(command, Call):
                self._send(command)
            else:
                self._perform(command)

    def _step(self, events: list[Any]) -> list[Any]:
        """All at once where the machine can, else one by one."""
        if self._step_many is not None:
            commands: list[Any] = self._step_many(events, self._clock.boottime())
            return commands
        return [command for event in events for command in self._machine.step(event, self._clock.boottime())]

    def _take_events(self) -> list[Any]:
        """What is there, up to the word to end; a tick when the machine's time came first."""
        wait_s = min(self._machine.wake_at - self._clock.boottime(), _LONGEST_WAIT_S)
        try:
            event = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
        except queue.Empty:
            return [Tick()]
        events: list[Any] = []
        while event is not _END:
            events.append(event)
            if len(events) == _EVENTS_A_ROUND:
                return events
            try:
                event = self._inbox.get_nowait()
            except queue.Empty:
                return events
        self._ending = True
        return events

    def _send(self, call: Call) -> None:
        try:
            future: Future[Any] = self._store.call(call.request, call.timeout_s)
        except StoreError as error:
            self.post(Answer(call.call_id, error))
            return
        future.add_done_callback(lambda done: self.post(Answer(call.call_id, _result_of(done))))


def _result_of(future: Future[Any]) -> Any:
    if future.cancelled():
        return StoreUnavailableError("the call was cancelled before it was answered")
    error = future.exception()
    return future.result() if error is None else error


_END = object()
