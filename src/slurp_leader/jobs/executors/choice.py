"""Which executor it is to be: by name, or by handing in a pool."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

from slurp_leader.clock import Clock
from slurp_leader.errors import ConfigurationError
from slurp_leader.jobs.executors.batches import Batches, BatchRules
from slurp_leader.jobs.executors.body import Body
from slurp_leader.jobs.executors.coroutines import Coroutines
from slurp_leader.jobs.executors.foreign import Foreign, PoolSource
from slurp_leader.jobs.executors.port import Executor
from slurp_leader.jobs.executors.processes import Processes, ProcessRules
from slurp_leader.jobs.executors.threads import Threads
from slurp_leader.jobs.executors.worker import ProcessTable, pickled
from slurp_leader.jobs.options import ExecutorName, JobsOptions

ExecutorChoice = Literal["auto", "threads", "coroutines", "processes"] | ExecutorName | PoolSource
"""A name (see ``jobs.executor``), a `concurrent.futures.Executor`, or a function that makes one."""


def check_choice(choice: object) -> ExecutorName | PoolSource:
    """The choice, if it is one.

    Raises:
        ConfigurationError: It is none; says what would be.
    """
    if isinstance(choice, concurrent.futures.Executor):
        _check_pool(choice)
        return choice
    if isinstance(choice, str):
        try:
            return ExecutorName(choice)
        except ValueError:
            pass
    elif callable(choice):
        source: Callable[[], concurrent.futures.Executor] = choice
        return source
    names = ", ".join(name.value for name in ExecutorName)
    raise ConfigurationError(
        f"executor: {choice!r:.100} is none of {names}, no concurrent.futures.Executor, and no function that makes one",
        field="executor",
    )


def _check_pool(pool: concurrent.futures.Executor) -> None:
    """A pool that forks this process would copy its threads' locks, and gRPC, which does not survive that."""
    context = getattr(pool, "_mp_context", None)  # of a ProcessPoolExecutor; it has no public name
    if context is not None and context.get_start_method() == "fork":
        raise ConfigurationError(
            "executor: this pool forks its workers off this process, where gRPC has threads; make it with "
            "mp_context=multiprocessing.get_context('spawn')",
            field="executor",
        )


def check_body(choice: ExecutorName | PoolSource, body: Body) -> None:
    """See that the body can run where it is to run.

    Raises:
        ConfigurationError: It is to be sent to other processes, and cannot be.
    """
    if choice == ExecutorName.PROCESSES or isinstance(choice, concurrent.futures.ProcessPoolExecutor):
        pickled(body)


def executor_for(
    choice: ExecutorName | PoolSource, body: Body, options: JobsOptions, clock: Clock, table: ProcessTable | None
) -> Executor:
    """Make the executor.

    Args:
        choice: What it is to be.
        body: What it does.
        options: How many runs at once, and how worker processes are treated.
        clock: Source of time.
        table: What the machine says of processes; needed for those of this library.

    Raises:
        ConfigurationError: The body cannot be sent to where it is to run.
    """
    check_body(choice, body)
    if not isinstance(choice, str):
        return Foreign(choice, body)
    if choice is ExecutorName.AUTO:
        alone = body.is_coroutine and body.batch is None
        choice = ExecutorName.COROUTINES if alone else ExecutorName.THREADS
    if choice is ExecutorName.COROUTINES:
        return Coroutines(body, clock)
    if choice is ExecutorName.THREADS and body.batch is not None:
        return Batches(
            body, options.workers, BatchRules(options.batch_size, options.batch_wait_s, options.batch_by), clock
        )
    if choice is ExecutorName.THREADS:
        return Threads(body, options.workers, clock)
    assert table is not None, "whoever offers processes knows the machine's"
    rules = ProcessRules(options.kill_grace / timedelta(seconds=1), options.process_memory)
    return Processes(body, options.workers, rules, table, clock)
