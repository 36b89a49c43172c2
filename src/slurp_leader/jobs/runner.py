"""Runs jobs: hands each run to the executor, passes on the word to stop, and says what came of it.

A run is started by the scheduler's command, checks its term once more before any user code (`Launch.begin`), and
reports how it ended. Where its body runs is the executor's business (`slurp_leader.jobs.executors`). A body that is
told to stop and does not keeps its worker, unless the executor can kill; the scheduler counts that worker as taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.jobs.context import JobContext, RunFacts
from slurp_leader.jobs.decisions import longest_run_s, until_deadline_s
from slurp_leader.jobs.executors.body import Work
from slurp_leader.jobs.executors.port import Executor, Launch
from slurp_leader.jobs.messages import StartRun, StopRun, WorkerReady
from slurp_leader.telemetry.tracing import NoTracer, Tracer

__all__ = ["JobContext", "Runner", "Work"]


class Runner:
    """Runs jobs. Safe to use from any thread; nothing blocks but `stop`.

    Args:
        executor: Where bodies run. Closed here.
        clock: For run times.
        post: Takes `RunStarted`, `RunEnded`, `WorkerReady` and what bodies tell; must not block.
        longest_extension_s: By how much a run may be prolonged in all.
        lost: Told if the executor will never run anything again.
        tracer: Where spans go.
    """

    def __init__(
        self,
        executor: Executor,
        clock: Clock,
        post: Callable[[Any], None],
        *,
        longest_extension_s: float = 0.0,
        lost: Callable[[BaseException], None] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._executor = executor
        self._clock = clock
        self._post = post
        self._longest_extension_s = longest_extension_s
        self._lost = lost or _ignore
        self._tracer = tracer or NoTracer()
        self._launches: dict[int, Launch] = {}
        self._over = self._launches.pop

    def start(self) -> None:
        self._executor.open(self._lost, partial(self._post, WorkerReady()))

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Tell all runs to stop and end the executor. Safe twice, before `start`, and from a body that runs here.

        Returns:
            Whether all runs have come back. A generator that does not look keeps its worker.
        """
        for launch in list(self._launches.values()):
            launch.context._tell_to_stop("shutdown")
        return self._executor.close(timeout_s)

    def scale(self, workers: int) -> None:
        """Have so many workers from now on. What runs is not disturbed."""
        self._executor.scale(workers)

    def run(self, start: StartRun) -> None:
        """Take a run. It begins as soon as there is room."""
        spec, today = start.job.spec, self._clock.utcnow()
        facts = RunFacts(
            start.run_id,
            spec.job_id,
            start.attempt,
            start.run,
            start.term.epoch,
            start.fencing_token,
            longest_run_s(spec, today),
            self._longest_extension_s,
            start.restored,
        )
        until = self._clock.boottime() + until_deadline_s(spec, today)
        context = JobContext(facts, self._clock, self._post, start.term, until)
        launch = Launch(start, context, self._post, self._tracer, self._over)
        self._launches[start.run_id] = launch
        self._executor.start(launch)

    def stop_run(self, stop: StopRun) -> None:
        """Tell a run to stop. A run that has ended does not mind."""
        launch = self._launches.get(stop.run_id)
        if launch is not None:
            launch.context._tell_to_stop(stop.reason)
            self._executor.stop(launch, stop.reason)


def _ignore(error: BaseException) -> None:
    """Nobody is to be told."""
