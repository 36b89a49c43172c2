"""Worker processes: a body that does not stop is killed, with all that it has started.

Each worker is a program of its own, in a session and group of its own, with a way of its own to this process. It does
one run at a time, so its end speaks against that run alone, and killing it harms no other. It is never forked: this
process has threads, and gRPC.

::

    start -> waits -> (a worker is ready) -> begin -> Do ... Done -> end
    stop  -> Stop -> `kill_grace` -> killed -> (it is gone) -> end: interrupted
    it ends by itself under a run           -> end: a failed attempt, `process_died`
    it grows beyond `process_memory`        -> killed -> end: a failed attempt, `memory_exceeded`

One thread decides; a thread for each worker only reads, so that a worker which stops in the middle of a word holds up
nobody.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.errors import JobError
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.executors.body import Body
from slurp_leader.jobs.executors.port import INTERRUPTED, Launch
from slurp_leader.jobs.executors.wire import Begun, Do, Done, Logged, Prepare, Ready, Stop, Unloadable
from slurp_leader.jobs.executors.worker import ProcessTable, Worker, about_this_process, how_it_ended, pickled
from slurp_leader.telemetry.events import LogEvent, log_event

_logger = logging.getLogger("slurp_leader.jobs")

_LOOK_EVERY_S = 0.1
_MEASURE_EVERY_S = 0.25
_IDLE_S = 60.0
"""A worker that had nothing to do for so long is let go; the next run starts a new one."""
_MOST_A_ROUND = 256
_REAP_S = 0.05
_AGAIN_S = 0.5
_MOST_FAILED_STARTS = 5
"""So many workers in a row that did not come up: another node should lead."""


@dataclass(frozen=True, slots=True)
class ProcessRules:
    """How workers are treated.

    Attributes:
        kill_grace_s: How long a body that was told to stop may take to do so.
        most_memory: Bytes that a worker and what it has started may take; 0: any.
    """

    kill_grace_s: float
    most_memory: int


class Processes:
    """A pool of worker processes, started when they are needed.

    Args:
        body: What does a job. It has to be found by name where it is unpickled.
        count: Workers at most.
        rules: How they are treated.
        table: What the machine says of them.
        clock: Source of time.

    Raises:
        ConfigurationError: The body cannot be sent.
    """

    name = "processes"
    can_kill = True
    holds_worker = True
    per_worker = 1

    def __init__(self, body: Body, count: int, rules: ProcessRules, table: ProcessTable, clock: Clock) -> None:
        self.trouble = ""
        self._pickled = pickled(body)
        self._count = count
        self._rules = rules
        self._table = table
        self._clock = clock
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="slurp-job-processes", daemon=True)
        self._is_open = False
        self._lost: Callable[[BaseException], None] = _ignore
        self._ready: Callable[[], None] = _ignore
        # Of the thread:
        self._workers: list[Worker] = []
        self._waiting: deque[Launch] = deque()
        self._failed_starts = 0
        self._start_at = float("-inf")
        self._is_closing = False

    def open(self, lost: Callable[[BaseException], None], ready: Callable[[], None]) -> None:
        self._lost, self._ready = lost, ready
        self._is_open = True
        self._thread.start()

    def scale(self, count: int) -> None:
        """One that is too many ends once it has nothing to do."""
        self._inbox.put(partial(setattr, self, "_count", count))

    def start(self, launch: Launch) -> None:
        self._inbox.put(partial(self._waiting.append, launch))

    def stop(self, launch: Launch, reason: str) -> None:
        self._inbox.put(partial(self._stop, launch, reason))

    def close(self, timeout_s: float) -> bool:
        if not self._is_open:
            return True
        self._inbox.put(self._begin_closing)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ------------------------------------------------------------ the thread that decides

    def _serve(self) -> None:
        try:
            while not (self._is_closing and not self._workers):
                self._take()
                self._look()
                self._fill()
        except BaseException as error:  # a bug here: leave nothing running that nobody watches, and say so
            _logger.exception("the thread that watches worker processes failed")
            for worker in self._workers:
                worker.kill(self._table)
            self.trouble = f"nobody watches worker processes: {error!r}"
            self._lost(error)

    def _take(self) -> None:
        """What has come, or, while something is under way, the time to look. Not all of it, if there is much: a body
        that tells without end must not keep this thread from stopping it."""
        busy = self._waiting or any(worker.launch or worker.verdict or worker.is_gone for worker in self._workers)
        wait_s = _LOOK_EVERY_S if busy or self._is_closing else _IDLE_S
        for worker in self._workers:
            if worker.kill_at is not None:
                wait_s = min(wait_s, worker.kill_at - self._clock.boottime())
        with suppress(queue.Empty):
            self._inbox.get(timeout=max(0.0, wait_s))()
            for _ in range(_MOST_A_ROUND):
                self._inbox.get_nowait()()

    def _look(self) -> None:
        now = self._clock.boottime()
        for worker in list(self._workers):
            if worker.is_gone or worker.has_ended:
                self._bury(worker)
            elif worker.verdict is not None:
                pass  # it is about to be gone
            elif worker.launch is not None:
                self._watch(worker, worker.launch, now)
            elif worker.is_ready and self._is_too_many(worker, now):
                self._kill(worker, INTERRUPTED)

    def _is_too_many(self, idle: Worker, now: float) -> bool:
        alive = sum(worker.verdict is None for worker in self._workers)
        return self._is_closing or alive > self._count or now >= idle.idle_since + _IDLE_S

    def _watch(self, worker: Worker, launch: Launch, now: float) -> None:
        """A run under way: is its time to stop over, does it still have a term, is it too large?"""
        if worker.kill_at is not None and now >= worker.kill_at:
            self._kill(worker, INTERRUPTED)
        elif not worker.is_told and launch.context.should_stop():
            worker.is_told = True
            worker.say(Stop(launch.run_id, "term_lost"))
        elif self._rules.most_memory and now >= worker.measure_at:
            worker.measure_at = now + _MEASURE_EVERY_S
            taken = self._table.memory_of(worker.pid)
            if taken > self._rules.most_memory:
                self._kill(worker, _too_large(taken, self._rules.most_memory))

    def _fill(self) -> None:
        """Give what waits to workers that are free, and start the workers that are lacking."""
        free = [worker for worker in self._workers if worker.is_ready and not worker.launch and not worker.verdict]
        while self._waiting and free:
            self._give(free.pop(), self._waiting.popleft())
        coming = sum(not worker.is_ready for worker in self._workers)
        if self._is_closing:
            while self._waiting:
                self._waiting.popleft().end(INTERRUPTED)
        elif self._clock.boottime() >= self._start_at:
            for _ in range(min(len(self._waiting) - coming, self._count - len(self._workers))):
                self._start_worker()

    def _give(self, worker: Worker, launch: Launch) -> None:
        if not launch.begin_apart():
            return
        worker.give(launch, self._clock.boottime() + _MEASURE_EVERY_S)
        if not worker.say(Do(launch.context._facts, launch.spec, _logger.getEffectiveLevel())):
            worker.fell = True  # the body has not begun there
            self._kill(worker, INTERRUPTED)

    def _retire_if_large(self, worker: Worker) -> None:
        """What one run has left behind in memory must not be held against the next."""
        most = self._rules.most_memory
        if most and self._table.memory_of(worker.pid) > most // 2:
            self._kill(worker, INTERRUPTED)

    # ------------------------------------------------------------ stopping

    def _stop(self, launch: Launch, reason: str) -> None:
        if launch in self._waiting:
            self._waiting.remove(launch)
            launch.end(INTERRUPTED)
            return
        worker = next((each for each in self._workers if each.launch is launch), None)
        if worker is None or worker.verdict is not None:
            return
        if reason == "term_lost" or not worker.say(Stop(launch.run_id, reason)):
            self._kill(worker, INTERRUPTED)  # nothing that it could still do counts
        else:
            worker.is_told = True
            worker.kill_at = self._clock.boottime() + self._rules.kill_grace_s

    def _begin_closing(self) -> None:
        self._is_closing = True
        for worker in self._workers:
            if worker.launch is None:
                self._kill(worker, INTERRUPTED)
            elif worker.kill_at is None and worker.verdict is None:
                self._stop(worker.launch, "shutdown")

    def _kill(self, worker: Worker, verdict: RunReport) -> None:
        """With all that it has started. It is buried once it is gone."""
        worker.verdict, worker.kill_at = verdict, None
        worker.kill(self._table)

    # ------------------------------------------------------------ what workers say

    def _hear(self, worker: Worker, message: Any) -> None:
        launch = worker.launch
        match message:
            case Ready():
                self._failed_starts, self.trouble = 0, ""
                worker.is_ready, worker.idle_since = True, self._clock.boottime()
                self._ready()
            case Begun():
                worker.is_at_work = True
            case Unloadable(why):
                self._kill(worker, INTERRUPTED)
                self._start_failed(JobError(f"a worker process cannot load the generator: {why}"))
            case Logged(record):
                _pass_on(record)
            case Done(run_id, report, use) if launch is not None and launch.run_id == run_id and worker.verdict is None:
                worker.take_back(self._clock.boottime())
                launch.end(report, use)
                self._retire_if_large(worker)
            case Done():
                pass  # it was killed meanwhile
            case _ if launch is not None:
                launch.tell(message)
            case _:
                pass

    def _gone(self, worker: Worker) -> None:
        worker.is_gone = True

    def _bury(self, worker: Worker) -> None:
        """It has ended, or ends: see that nothing of it is left, and say what that means for its run."""
        if worker.verdict is None:
            worker.fell = True
            self._kill(worker, INTERRUPTED)
        code = worker.reap(_REAP_S)
        if code is None:
            return  # it is looked at again
        self._workers.remove(worker)
        launch, worker.launch = worker.launch, None
        if launch is not None and not worker.fell:
            launch.end(worker.verdict)
        elif launch is not None:
            launch.end(_died(code) if worker.is_at_work else None)
        elif worker.fell and not worker.is_ready and not self._is_closing:
            self._start_failed(JobError(f"a worker process ended before it was ready: {how_it_ended(code)}"))

    # ------------------------------------------------------------ starting

    def _start_worker(self) -> None:
        try:
            worker = Worker()
        except OSError as error:
            self._start_failed(error)
            return
        self._workers.append(worker)
        threading.Thread(target=self._read, args=(worker,), name=f"slurp-job-line-{worker.pid}", daemon=True).start()
        worker.say(Prepare(about_this_process(), self._pickled))

    def _start_failed(self, error: BaseException) -> None:
        self._failed_starts += 1
        self._start_at = self._clock.boottime() + _AGAIN_S
        if not self.trouble:
            log_event(_logger, logging.ERROR, LogEvent.EXECUTOR_LOST, executor=self.name, error=str(error))
        self.trouble = f"no worker process comes up: {error}"
        if self._failed_starts == _MOST_FAILED_STARTS:
            while self._waiting:
                self._waiting.popleft().end(None)
            self._lost(error)

    def _read(self, worker: Worker) -> None:
        """On a thread of its own."""
        try:
            while True:
                self._inbox.put(partial(self._hear, worker, worker.hear()))
        except EOFError:
            pass
        except Exception as error:  # what a body has written to a descriptor that is not its own, for example
            _logger.debug("the way to worker process %s ends: %r", worker.pid, error)
        finally:
            worker.hang_up()
            self._inbox.put(partial(self._gone, worker))


def _pass_on(record: logging.LogRecord) -> None:
    """To the handlers of this process, as if it had been said here."""
    logger = logging.getLogger(record.name)
    with suppress(Exception):  # a filter of the service's may do anything
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


def _too_large(taken: int, most: int) -> RunReport:
    message = f"the run took {taken} bytes of memory, with what it had started; jobs.process_memory is {most}"
    return RunReport(RunEnd.RAISED, error=error_of("memory_exceeded", message))


def _died(code: int) -> RunReport:
    """A run that brought its own process down. Nothing else ran there, so this is held against it."""
    return RunReport(
        RunEnd.RAISED, error=error_of("process_died", f"its process died: {how_it_ended(code)}", exit_code=code)
    )


def _ignore(*_: object) -> None:
    """Nobody is to be told."""
