"""Batches: a generator that does many jobs in one call, on threads.

    runs that were given -> gathered by role or project -> as many as a batch holds, or what came in time -> one call

Each job of a batch is a run of its own: claimed, stopped, timed and recorded for itself. What they share is the call. A
batch takes one worker, so there are `size` places for each.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.errors import TerminalError
from slurp_leader.jobs.context import JobContext
from slurp_leader.jobs.decisions import RunReport
from slurp_leader.jobs.executors.body import BatchWork, Body, raised, returned
from slurp_leader.jobs.executors.measuring import ThreadUse
from slurp_leader.jobs.executors.port import INTERRUPTED, Launch
from slurp_leader.jobs.joining import joined
from slurp_leader.jobs.options import BatchBy
from slurp_leader.jobs.records import Spec

_LOOK_EVERY_S = 0.1
"""How often a coroutine is asked whether all runs in it have to stop."""


@dataclass(frozen=True, slots=True)
class BatchRules:
    """How batches are made.

    Attributes:
        size: Jobs in one call, at most.
        wait_s: How long the first one waits for more.
        by: What the jobs of one batch have in common.
    """

    size: int
    wait_s: float
    by: BatchBy

    def key(self, spec: Spec) -> str:
        """Jobs with the same one may share a batch."""
        match self.by:
            case BatchBy.ROLE:
                return spec.role
            case BatchBy.PROJECT:
                return spec.project
            case BatchBy.NONE:
                return ""


class Gathering:
    """Runs that wait for company. Not thread-safe; a batch is due when it is full, or its first run has waited."""

    def __init__(self, rules: BatchRules) -> None:
        self._rules = rules
        self._groups: dict[str, list[tuple[float, Launch]]] = {}  # each in the order they came

    def add(self, launch: Launch, now: float) -> None:
        self._groups.setdefault(self._rules.key(launch.spec), []).append((now, launch))

    def remove(self, launch: Launch) -> bool:
        """Returns: whether it waited."""
        key = self._rules.key(launch.spec)
        waiting = self._groups.get(key, [])
        rest = [each for each in waiting if each[1] is not launch]
        if rest:
            self._groups[key] = rest
        else:
            self._groups.pop(key, None)
        return len(rest) < len(waiting)

    def take(self, now: float, *, all_of_it: bool = False) -> list[Launch]:
        """The batch that is due, the one that waited longest first; empty: none is. `all_of_it`: also what is not."""
        due = [
            (waiting[0][0], key)
            for key, waiting in self._groups.items()
            if all_of_it or len(waiting) >= self._rules.size or now >= waiting[0][0] + self._rules.wait_s
        ]
        if not due:
            return []
        key = min(due)[1]
        waiting = self._groups[key]
        taken, rest = waiting[: self._rules.size], waiting[self._rules.size :]
        if rest:
            self._groups[key] = rest
        else:
            del self._groups[key]
        return [launch for _, launch in taken]

    @property
    def due_at(self) -> float | None:
        """When the next one is due, if nothing comes; None: nothing waits."""
        return min((waiting[0][0] + self._rules.wait_s for waiting in self._groups.values()), default=None)


class Batches:
    """A pool of threads, each with a batch at a time.

    Args:
        body: What does the jobs.
        count: Threads.
        rules: How batches are made.
        clock: For how long runs wait for company.
    """

    name = "batches"
    can_kill = False
    holds_worker = True
    trouble = ""

    def __init__(self, body: Body, count: int, rules: BatchRules, clock: Clock) -> None:
        assert body.batch is not None
        self._work: BatchWork = body.batch
        self._retries = body.retries
        self._clock = clock
        self.per_worker = rules.size
        self._names = itertools.count()
        self._calls = itertools.count(1)
        self._changed = threading.Condition()  # guards all below
        self._gathering = Gathering(rules)
        self._count = count
        self._is_open = False
        self._threads: list[threading.Thread] = []

    def open(self, lost: Callable[[BaseException], None], ready: Callable[[], None]) -> None:
        self._is_open = True
        self.scale(self._count)

    def scale(self, count: int) -> None:
        """One that is too many ends once it has nothing to do."""
        with self._changed:
            self._count = count
            while self._is_open and len(self._threads) < count:
                # Daemon threads: a generator that never comes back must not keep the process from ending.
                name = f"slurp-batch-{next(self._names)}"
                thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()

    def start(self, launch: Launch) -> None:
        with self._changed:
            self._gathering.add(launch, self._clock.boottime())
            self._changed.notify()

    def stop(self, launch: Launch, reason: str) -> None:
        """Taken back if it waits for a batch: all threads may be stuck. Else its context has been told, and there is
        nothing else one can do to a thread."""
        with self._changed:
            waited = self._gathering.remove(launch)
        if waited:
            launch.end(INTERRUPTED)

    def close(self, timeout_s: float) -> bool:
        with self._changed:
            threads = list(self._threads)
        self.scale(0)
        return joined(threads, timeout_s, self._clock)

    # ------------------------------------------------------------ on the threads

    def _serve(self) -> None:
        while batch := self._next():
            self._run(batch)

    def _next(self) -> list[Launch]:
        """Wait for a batch; empty: this thread is one too many, and nothing waits."""
        with self._changed:
            while True:
                now, too_many = self._clock.boottime(), len(self._threads) > self._count
                batch = self._gathering.take(now, all_of_it=self._count == 0)
                if batch:
                    return batch
                if too_many:
                    self._threads.remove(threading.current_thread())
                    return []
                due_at = self._gathering.due_at
                self._changed.wait(None if due_at is None else max(0.0, due_at - now))

    def _run(self, batch: Sequence[Launch]) -> None:
        call = next(self._calls)
        begun = [launch for launch in batch if launch.begin_apart(call)]
        if begun:
            measured = ThreadUse()
            reports = self._reports(begun)
            use = measured.taken(len(begun))
            for launch, report in zip(begun, reports, strict=True):
                launch.end(report, use)

    def _reports(self, batch: Sequence[Launch]) -> list[RunReport]:
        """What became of each. What the call as a whole raises is held against all of them."""
        contexts = [launch.context for launch in batch]
        try:
            answers = self._work([launch.spec for launch in batch], contexts)
            if hasattr(answers, "__await__"):
                answers = await_here_for(answers, contexts)
            answers = list(answers)
            if len(answers) != len(batch):
                message = f"generate_batch gave {len(answers)} results for {len(batch)} jobs"
                raise TerminalError(message, code="batch_mismatch")
        except BaseException as error:  # whatever user code raises belongs to the jobs, never to the worker
            return [raised(error, self._retries, context) for context in contexts]
        return [self._report(answer, context) for answer, context in zip(answers, contexts, strict=True)]

    def _report(self, answer: Any, context: JobContext) -> RunReport:
        """What became of one: an error among the results is that one's."""
        try:
            if isinstance(answer, BaseException):
                raise answer
            return returned(answer)
        except BaseException as error:
            return raised(error, self._retries, context)


def await_here_for(awaitable: Awaitable[Any], contexts: Sequence[JobContext]) -> Any:
    """Run a coroutine to its end on this thread; cancel it when all that it works for have to stop."""

    async def watched() -> Any:
        task = asyncio.ensure_future(awaitable)
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_EVERY_S)
            if not task.done() and all(context.should_stop() for context in contexts):
                task.cancel()
                break
        return await task

    return asyncio.run(watched())
