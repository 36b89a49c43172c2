"""Periodic work as a program uses it: the machine on a thread of its own, and what runs beside it."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.machine import Loop
from slurp_leader.periodic.machine import PeriodicMachine
from slurp_leader.periodic.messages import (
    Begin,
    Cancel,
    Drained,
    Ended,
    GoOn,
    HandBack,
    Lead,
    Lose,
    Note,
    Pause,
    Settle,
    Settled,
    Skipped,
    SkipReason,
    Work,
)
from slurp_leader.periodic.records import periodic_key
from slurp_leader.periodic.runner import Runner, Task
from slurp_leader.store import Store
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.telemetry import metrics as instruments
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics, NoMetrics
from slurp_leader.term import Term

_logger = logging.getLogger("slurp_leader.periodic")


class Periodic:
    """Runs periodic work while this node leads. Lives once: start, stop. Safe to use from any thread.

    It knows nothing of elections: its owner tells it of terms.

    Args:
        store: Where claims are written. Not closed here.
        keyspace: Keys of the cluster.
        election: Name of the election whose leader does the work.
        works: What is to be done, and the function that does it.
        clock: Source of time.
        timeout_s: Of one call to the store.
        drained: Told that nothing of the term with this token runs any more; on the thread of the machine.
        settled: Told that nothing of it is under way at present, as was asked for by `settle`; on the same thread.
        failed: Told that it begins nothing any more: a bug. It must not wait.
        metrics: Where measurements go.

    Raises:
        ConfigurationError: A name cannot be part of a key.
    """

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        election: str,
        works: Mapping[Work, Task],
        *,
        clock: Clock,
        timeout_s: float,
        drained: Callable[[int], None],
        settled: Callable[[int], None],
        failed: Callable[[], None],
        metrics: Metrics | None = None,
    ) -> None:
        self.failure: BaseException | None = None
        """Why it runs nothing any more: a bug."""
        self._election = election
        self._drained = drained
        self._settled = settled
        self._give_up = failed
        self._metrics = metrics or NoMetrics()
        keys = {work.name: (work, periodic_key(keyspace, election, work.name)) for work in works}
        machine = PeriodicMachine(keys, clock, random.Random(secrets.randbits(128)), timeout_s)
        self._loop = Loop("slurp-periodic", machine, store, clock, self._perform, self._failed)
        self._runner = Runner({work.name: task for work, task in works.items()}, clock, self._loop.post)
        self._token = 0

    @property
    def failing(self) -> Mapping[str, tuple[str, float]]:
        """Work whose newest run here failed: what it raised, and when, in boottime seconds."""
        return self._runner.failing

    def start(self) -> None:
        """Begin. Nothing runs before `lead`."""
        self._loop.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End all. Terms are given back or lost before.

        Returns:
            Whether everything that ran has ended; a function that does not look at its term may run on.
        """
        self._loop.stop()
        return self._runner.stop(timeout_s)

    # ------------------------------------------------------------ what the owner tells

    def lead(self, term: Term) -> None:
        """A term began, or goes on after a pause."""
        self._token = term.token
        self._loop.post(Lead(term))

    def pause(self, token: int) -> None:
        """Begin nothing until the term is proven again."""
        self._loop.post(Pause(token))

    def hand_back(self, token: int) -> None:
        """Begin nothing more in this term, and say `drained` when all has ended."""
        if self.failure is None:
            self._loop.post(HandBack(token))
        else:  # it begins nothing, and would not answer
            self._drained(token)

    def settle(self, token: int) -> None:
        """The term is about to be handed over: begin nothing, and say `settled` when nothing is under way."""
        if self.failure is None:
            self._loop.post(Settle(token))
        else:
            self._settled(token)

    def go_on(self, token: int) -> None:
        """It was not handed over: begin again what is due."""
        self._loop.post(GoOn(token))

    def lose(self, token: int) -> None:
        """The term is over: cancel what runs."""
        self._loop.post(Lose(token))

    # ------------------------------------------------------------ what the machine says (on its thread)

    def _perform(self, command: Any) -> None:
        match command:
            case Begin():
                facts = {"work": command.name, "token": command.term.token, "due": command.due}
                log_event(_logger, logging.DEBUG, LogEvent.PERIODIC_STARTED, election=self._election, **facts)
                self._runner.begin(command)
            case Cancel():
                self._runner.cancel(command.run_id)
            case Drained():
                self._drained(command.token)
            case Settled():
                self._settled(command.token)
            case Ended():
                labels = {"election": self._election, "work": command.name, "outcome": command.outcome.value}
                self._metrics.record(instruments.PERIODIC_RUN, command.duration_s, **labels)
            case Skipped():
                self._skipped(command)
            case Note():
                log_event(_logger, command.level, command.event, election=self._election, **command.fields)
            case _:
                raise TypeError(f"periodic work knows no command {command!r}")

    def _skipped(self, skipped: Skipped) -> None:
        reason = skipped.reason.value
        self._metrics.add(instruments.PERIODIC_SKIPPED, election=self._election, work=skipped.name, reason=reason)
        log_event(
            _logger,
            logging.INFO if skipped.reason is SkipReason.RUNNING else logging.WARNING,
            LogEvent.PERIODIC_SKIPPED,
            election=self._election,
            work=skipped.name,
            reason=reason,
            due=skipped.due,
            late_s=round(skipped.late_s, 3),
        )

    def _failed(self, error: BaseException) -> None:
        """The machine had a bug: it begins nothing any more, and must not hold up what its owner gives back."""
        self.failure = error
        self._drained(self._token)
        self._settled(self._token)
        self._give_up()
