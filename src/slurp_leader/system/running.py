"""One `run`: work that is begun anew in each term of this process until it has come to its end.

Two ways to do the same: a function is called on the thread that waits for terms; a coroutine function becomes a task on
the loop of who awaits it, while a thread of ours waits for terms, watches over the one in force, and cancels the task.
All that decides which term, and what its end means, is written once and never waits on the loop.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from slurp_leader.election import Election
from slurp_leader.errors import ConfigurationError, LeadershipLostError, LifecycleError
from slurp_leader.system.aio import called_on_own_thread
from slurp_leader.term import Term

T = TypeVar("T")

_LETTING_GO_S = 5.0
"""How long is waited for the election to notice that the term is given back."""
_LOOK_EVERY_S = 0.5
"""So often it is looked whether the loop is still there, and at the clock, also when nothing was heard."""


class Run(Generic[T]):
    """Work, and how it is done in the terms of one election. Lives once.

    Args:
        work: Called with each term, on the thread of `carry_out`.
    """

    def __init__(self, work: Callable[[Term], Any]) -> None:
        self._work = work
        self._owner = f"run-{secrets.token_hex(4)}"
        self._is_given_up = False

    def carry_out(self, election: Election) -> T:
        """Wait for terms, and do the work in them until it has come to its end; then give the term back.

        Raises:
            LifecycleError: The election ended, and the work had not come to its end within a term.
            CancelledError: It was given up.
            Whatever the work raises, except the loss of its term.
        """
        election.add_owner(self._owner)
        try:
            while (term := self._next_term(election)) is not None:
                refusals = term.trust.refusals
                try:
                    result: T = self._do(election, term)
                except LeadershipLostError as error:
                    was_refused = error.token == term.token and term.trust.refusals != refusals
                    if term.is_valid and not was_refused:  # it says so of another term, or this one was never in doubt
                        raise
                else:
                    # Work that ends because it was asked to has not come to its end, unless nothing follows. One that
                    # has something to show has: it was done in a term that held to the last.
                    was_asked = term.leaving.is_set() and not election.is_stopping and result is None
                    if term.is_valid and not was_asked:
                        return result
                # Else the same term goes on, and its work begins anew.
                if not election.wait_until_proved_again(term, self._has_given_up):
                    election.drained(self._owner, term.token)
        finally:
            self._give_back(election)
        if self._is_given_up:
            raise asyncio.CancelledError
        why = election.why_ended or (election.reason.value if election.reason else "unknown")
        raise LifecycleError(f"the election ended, and no work was done to its end: {why}")

    def _do(self, _election: Election, term: Term) -> Any:
        """Do the work of one term.

        Raises:
            ConfigurationError: It was a coroutine function after all, as in ``lambda term: work(term)``.
        """
        result = self._work(term)
        if inspect.iscoroutine(result):
            result.close()
            raise not_awaited(f"{self._work!r} returned a coroutine")
        return result

    def _has_given_up(self) -> bool:
        return self._is_given_up

    def _next_term(self, election: Election) -> Term | None:
        """Wait for a term in which work may begin; None when there will be none, or none is wanted any more."""
        while election.wait_for_leadership(given_up=self._has_given_up) and not self._is_given_up:
            term = election.term
            if term is None:
                continue
            if not term.leaving.is_set():
                return term
            election.drained(self._owner, term.token)  # being given back: the next one may be ours again
            self._wait_for_the_end(election, term)
        return None

    def _wait_for_the_end(self, election: Election, term: Term) -> None:
        election.wait_until(lambda: term.lost.is_set() or self._is_given_up)

    def _give_back(self, election: Election) -> None:
        """Ask for the term to be given back that is in force, if one is, and let nobody wait for us any more."""
        term = election.leave()
        if term is not None:
            term.leaving.wait(_LETTING_GO_S)
        election.remove_owner(self._owner)


def not_awaited(what: str) -> ConfigurationError:
    """Why a coroutine function is no work for a thread, and what to write instead."""
    return ConfigurationError(
        f"{what}, which run does not await: in a coroutine write await election.aio.run(work), elsewhere "
        f"asyncio.run(election.aio.run(work)), where work is the coroutine function itself or a functools.partial of it"
    )


async def awaited_run(carry_out: Callable[[Run[T]], T], work: Callable[[Term], Awaitable[T]]) -> T:
    """A run whose work is a coroutine function: it runs on the loop of the caller, and all that waits elsewhere.

    Cancelled, it cancels the work, waits until that has ended, asks for the term to be given back, waits a few seconds
    until that begins, however often it is cancelled meanwhile, and then is cancelled: unless the work raised something
    of its own.

    Args:
        carry_out: Has a run carried out by the election; called on a thread.
        work: Called with each term, on the loop.
    """
    run = _RunOnLoop(work, asyncio.get_running_loop())
    answer: asyncio.Future[T] = called_on_own_thread(carry_out, run)
    run.answer = answer
    is_cancelled = False
    while not answer.done():
        try:
            await asyncio.wait([answer])
        except asyncio.CancelledError:
            is_cancelled = True
            run.give_up()
    if is_cancelled and answer.exception() is None:
        raise asyncio.CancelledError
    return answer.result()


class _RunOnLoop(Run[T]):
    """A run whose work is a task of a loop.

    Args:
        work: A coroutine function.
        loop: Where its coroutines run.
    """

    def __init__(self, work: Callable[[Term], Awaitable[T]], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(work)
        self._loop = loop
        self._pid = os.getpid()
        self._election: Election | None = None
        self.answer: asyncio.Future[T] | None = None
        """What this comes to. Belongs to the loop."""

    def carry_out(self, election: Election) -> T:
        self._election = election  # before it is looked whether it was given up
        return super().carry_out(election)

    def give_up(self) -> None:
        """Have the work cancelled that is under way, begin none any more, and have the term given back. Returns at
        once."""
        self._is_given_up = True
        if self._election is not None:
            self._election.look_again()

    def _do(self, election: Election, term: Term) -> Any:
        """Have the coroutine run while the term may be acted in, and cancel it when it may not.

        What it was cancelled for is told as a function would tell it: by its end where the term is to be given back,
        and by the loss where it is over or in doubt.
        """
        task = _Task(self._work, term, self._loop, self._look_again, election.options.stop_timeout_s)

        def has_news() -> bool:
            return task.has_ended or (not task.is_told and (self._is_given_up or term.should_stop))

        task.begin()
        while not task.has_ended:
            if self._loop.is_closed():
                raise LifecycleError("the event loop was closed while work of this term was under way on it")
            if task.is_told or self._is_given_up or term.leaving.is_set() or _refuse(term):
                task.cancel()
            # Nobody says when trust ends: that is a matter of the clock.
            election.wait_until(has_news, _LOOK_EVERY_S if task.is_told else min(_LOOK_EVERY_S, term.remaining_s()))
        if not task.is_told or task.has_something_to_show:
            return task.result()
        if self._is_given_up:
            raise asyncio.CancelledError
        if term.leaving.is_set():
            return None
        raise LeadershipLostError(f"the term with token {term.token} could not be proved in time", token=term.token)

    def _look_again(self) -> None:
        """On the loop: the work has ended. In a child that it has forked nobody looks: the thread is the parent's."""
        assert self._election is not None
        if os.getpid() == self._pid:
            self._election.look_again()
        elif self.answer is not None and not self.answer.done():
            self.answer.set_exception(LifecycleError("this process was forked off by work, and does none itself"))


def _refuse(term: Term) -> bool:
    """Refuse to go on in a term that may not be acted in. False: it may. A refusal counts like one that a check of the
    work's own met: the work has to begin anew."""
    try:
        term.check()
    except LeadershipLostError:
        return True
    return False


class _Task:
    """Work of one term on a loop. Begun, told to stop and asked by one thread; the rest is the loop's.

    Args:
        work: A coroutine function.
        term: What it is called with.
        loop: Where it runs.
        ended: Called when it has, on the loop; must not block.
        patience_s: How long it may take to end once it was cancelled. After that it is cancelled again.
    """

    def __init__(
        self,
        work: Callable[[Term], Awaitable[Any]],
        term: Term,
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[], None],
        patience_s: float,
    ) -> None:
        self._work = work
        self._term = term
        self._loop = loop
        self._tell = ended
        self._patience_s = patience_s
        self._task: asyncio.Task[Any] | None = None
        self._asked_at: float | None = None  # this and the next belong to the loop
        self._is_cancelled = False
        self.has_ended = False
        self.is_told = False
        """Whether its end was asked for from here."""

    def begin(self) -> None:
        self._on_loop(self._create)

    def cancel(self) -> None:
        """Have it cancelled. To be called again and again while it runs: it may be that it cannot be cancelled yet, and
        what swallows its cancellation is cancelled again when its time to end is over."""
        self.is_told = True
        self._on_loop(self._cancel)

    @property
    def has_something_to_show(self) -> bool:
        """Once it has ended: whether it has a result, or an error of its own."""
        assert self._task is not None
        if self._task.cancelled():
            return False
        return self._task.exception() is not None or self._task.result() is not None

    def result(self) -> Any:
        """Once it has ended: what it came to. Raises what the work raised."""
        assert self._task is not None
        return self._task.result()

    def _on_loop(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop was closed: nothing runs on it any more, as is soon seen
            self._loop.call_soon_threadsafe(call)

    def _create(self) -> None:
        self._task = self._loop.create_task(self._run(), name=f"slurp-run-{self._term.token}")
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        """Cancel it once: another cancellation would break off what it does about the first, whoever that came from.
        One of its own, as of a timeout, is over soon, and ends a part of it only: so this has to be asked for again."""
        task, now = self._task, self._term.clock.boottime()
        if task is None:
            return
        if self._asked_at is None:
            self._asked_at = now
        is_late = now >= self._asked_at + self._patience_s
        if is_late or not (self._is_cancelled or task.cancelling()):
            self._asked_at, self._is_cancelled = now, True
            task.cancel()

    async def _run(self) -> Any:
        self._term.check()  # the loop may have been busy since
        return await self._work(self._term)

    def _end(self, _task: asyncio.Task[Any]) -> None:
        self.has_ended = True
        self._tell()
