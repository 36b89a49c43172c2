"""Functions that only the leader runs: periodic ones, and those that refuse elsewhere. For both faces."""

from __future__ import annotations

import functools
import inspect
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, timedelta, tzinfo
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast, overload
from zoneinfo import ZoneInfo

from slurp_leader.clock import Clock
from slurp_leader.election import (
    Election,
    ElectionEvent,
    ElectionState,
    GoOn,
    Reason,
    SettleWanted,
    StateChanged,
)
from slurp_leader.errors import ConfigurationError, LifecycleError, NotLeaderError
from slurp_leader.options.durations import parse_duration
from slurp_leader.periodic import Cron, Interval, Periodic, Schedule, Task, Work
from slurp_leader.periodic.runner import what_is_called
from slurp_leader.store import Store
from slurp_leader.store.keyspace import Keyspace, key_segment
from slurp_leader.system.lifetime import Lifetime
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics
from slurp_leader.term import Term

_logger = logging.getLogger("slurp_leader.system")

P = ParamSpec("P")
T = TypeVar("T")
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
DurationLike = float | timedelta | str
"""Seconds, a `timedelta`, or text such as ``1m30s``."""

_OWNER = "periodic"
_GRACE_S = 3600.0
_NO_BEAT = (
    "the term ended as nothing called term.beat() within election.stall_timeout, and periodic work does not beat; "
    "leave out needs_progress if there is no other work, else see why its loop does not beat"
)


class LeaderWork(Lifetime):
    """The decorators of both faces. What is registered stays so over stops and starts."""

    def __init__(self) -> None:
        self._works: dict[Work, Task] = {}

    @abstractmethod
    def require_term(self) -> Term:
        """The term in force.

        Raises:
            NotLeaderError: This process does not lead.
            LifecycleError: Not started.
        """

    @property
    @abstractmethod
    def _is_running(self) -> bool:
        """Whether it was started, in this process."""

    # ------------------------------------------------------------ periodic

    def every(
        self, interval: DurationLike, *, name: str | None = None, grace: DurationLike = _GRACE_S
    ) -> Callable[[FunctionT], FunctionT]:
        """Run a function on the leader, at once when it never ran, and then every so often::

            @election.every(60)
            async def report(term): ...

        The function takes the `Term`, or nothing. Coroutine functions share one loop, on a thread of ours: one that
        blocks stalls the others. Any other function runs on a thread made for the run. Each due time is begun at most
        once, whoever leads by then: a change of the leader neither skips it nor doubles it. A run that is cut off by a
        crash is not begun again. While a run goes on it is not begun beside itself: the due time is skipped. Losing the
        term sets ``term.should_stop`` and cancels coroutines. An error is logged and counted, and ends nothing but that
        run.

        Stopping, and every other planned handover, waits for runs that have begun, as long as
        ``election.stop_timeout`` allows: they end while this node still leads, and the next due time begins on the
        next leader. Jobs of a `SlurpLeaderSystem` go on meanwhile. A run that takes longer is cut off, as by a loss of
        the term. ``term.should_stop`` is set at the beginning of that wait if the term ends in any case. So a run that
        hands the lead over itself must not wait for that (``transfer``, ``step_down``): each would wait for the other.

        With ``LeaderElection(needs_progress=True)`` periodic work does not beat for you, as that would hide a loop of
        yours that is stuck: something has to call ``term.beat()`` within each `election.stall_timeout`, or the term
        ends. Where there is nothing but periodic work, leave `needs_progress` out.

        Args:
            interval: 1 second or more. Each run is one write to etcd.
            name: Of the work, in etcd, metrics and logs; None: the function's. One that is changed begins anew.
            grace: A run that is later than this is skipped; 1 second or more.

        Raises:
            ConfigurationError: The interval or the name is wrong or taken, or the function wants other arguments.
            LifecycleError: It was started already.
        """
        return self._periodic(Interval(_seconds("interval", interval)), name, grace)

    def cron(
        self,
        expression: str,
        *,
        timezone: str | tzinfo = UTC,
        name: str | None = None,
        grace: DurationLike = _GRACE_S,
    ) -> Callable[[FunctionT], FunctionT]:
        """Run a function on the leader by a cron expression: ``@election.cron("30 2 * * mon-fri")``.

        As `every` in all else. What never ran waits for the next time that fits. `slurp_leader.periodic.cron` says what
        can be written, `slurp_leader.periodic.Cron` what happens when clocks change.

        Args:
            expression: Five fields, or ``@hourly`` and its like.
            timezone: What the fields mean: a name such as ``Europe/Berlin``, or a `tzinfo`.
            name: Of the work; None: the function's.
            grace: A run that is later than this is skipped; 1 second or more.

        Raises:
            ConfigurationError: Expression, time zone or name is wrong, or the function wants other arguments.
            LifecycleError: It was started already.
        """
        return self._periodic(Cron.of(expression, _zone(timezone)), name, grace)

    def _periodic(self, schedule: Schedule, name: str | None, grace: DurationLike) -> Callable[[FunctionT], FunctionT]:
        grace_s = _seconds("grace", grace)
        if grace_s < 1:
            raise ConfigurationError(
                f"grace = {grace!r}: 1 second or more, as every run begins a little late", field="grace"
            )

        def register(function: FunctionT) -> FunctionT:
            if self._is_running:
                raise LifecycleError("register periodic work before start()")
            own = str(name or getattr(function, "__name__", ""))
            if own in {work.name for work in self._works}:
                raise ConfigurationError(f"name = {own!r}: there is other work of this name; give it its own")
            self._works[Work(key_segment("name", own), schedule, grace_s)] = Task.of(function)
            return function

        return register

    # ------------------------------------------------------------ on demand

    @overload
    def leader_only(self, function: Callable[P, T], /) -> Callable[P, T]: ...

    @overload
    def leader_only(self, /, *, check_after: bool = False) -> Callable[[Callable[P, T]], Callable[P, T]]: ...

    def leader_only(self, function: Callable[..., Any] | None = None, /, *, check_after: bool = False) -> Any:
        """Let a function, or a coroutine function, be called on the leader only::

            @election.leader_only
            def publish(): ...

        That is a check at the door. Leadership may end while the function runs: what must not happen twice needs the
        token as well (``term.check()``, `SqlFence`, `fence_headers`).

        Args:
            function: What to guard.
            check_after: Check the term once more when the function has returned, and when what it returned was awaited,
                and refuse its result if the term ended meanwhile. What it did stays done.

        Raises (from the function it returns):
            NotLeaderError: This process does not lead, or is not started. Nothing was called.
            LeadershipLostError: With `check_after`: the term ended under way. The function ran to its end.

        Raises:
            ConfigurationError: The function yields: it would be checked once, and run on for any time.
        """
        if function is None:
            return partial(self._guard, check_after=check_after)
        return self._guard(function, check_after=check_after)

    def _guard(self, function: Callable[..., Any], *, check_after: bool) -> Callable[..., Any]:
        call = what_is_called(function)
        if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
            raise ConfigurationError(f"{function!r} yields: leader_only takes functions and coroutine functions")

        async def checked(result: Awaitable[Any], term: Term) -> Any:
            answer = await result
            term.check()
            return answer

        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            term = self._term_or_refuse()
            result = function(*args, **kwargs)
            if not check_after:
                return result
            if inspect.isawaitable(result):  # what is done is not done yet
                return checked(result, term)
            term.check()
            return result

        @functools.wraps(function)
        async def guarded_coroutine(*args: Any, **kwargs: Any) -> Any:
            term = self._term_or_refuse()
            result = await function(*args, **kwargs)
            if check_after:
                term.check()
            return result

        return cast("Callable[..., Any]", guarded_coroutine if inspect.iscoroutinefunction(call) else guarded)

    def _term_or_refuse(self) -> Term:
        try:
            return self.require_term()
        except LifecycleError as error:  # to its callers one answer: not here
            raise NotLeaderError(f"this process does not lead: {error}") from error


def failing_work_of(periodic: Periodic | None, election: Election) -> Mapping[str, tuple[str, float]]:
    """Periodic work that fails here. Who does not lead has none: another one does it, and may do well."""
    return periodic.failing if periodic is not None and election.term is not None else {}


def periodic_of(
    works: Mapping[Work, Task],
    store: Store,
    keyspace: Keyspace,
    election: Election,
    *,
    clock: Clock,
    metrics: Metrics | None,
    give_up: Callable[[], None],
) -> Periodic | None:
    """What runs the periodic work of an election while this node leads, joined to it; None if there is no work.

    Start it before the election, and stop it after. `give_up` is called if it fails for good, which would be a bug: a
    node that leads and does nothing should stand no more.
    """
    if not works:
        return None
    options = election.options
    periodic = Periodic(
        store,
        keyspace,
        options.name,
        works,
        clock=clock,
        timeout_s=options.rpc_timeout_s,
        drained=partial(election.drained, _OWNER),
        settled=election.settled,
        failed=give_up,
        metrics=metrics,
    )
    election.add_owner(_OWNER)
    election.subscribe(partial(_tell, periodic))
    election.ask_before_handover(partial(_ask, periodic))
    return periodic


def _tell(periodic: Periodic, event: ElectionEvent) -> None:
    """Where election and periodic work meet: in the `Term`."""
    if not isinstance(event, StateChanged) or event.term is None:
        return
    match event.state:
        case ElectionState.LEADER:
            periodic.lead(event.term)
        case ElectionState.SUSPENDED:
            periodic.pause(event.term.token)
        case ElectionState.DRAINING:
            periodic.hand_back(event.term.token)
        case _:
            periodic.lose(event.term.token)


def _ask(periodic: Periodic, question: SettleWanted | GoOn) -> None:
    """Where jobs are lent at a handover, periodic runs are not: two nodes would have one work under way."""
    if isinstance(question, SettleWanted):
        periodic.settle(question.token)
    else:
        periodic.go_on(question.token)


class StallHint:
    """Listens to an election that needs progress and has periodic work, and says at the first term that ends for want
    of a beat that this work does not beat.

    Args:
        election: Its name.
    """

    def __init__(self, election: str) -> None:
        self._election = election
        self._is_said = False

    def __call__(self, event: ElectionEvent) -> None:
        if self._is_said or not isinstance(event, StateChanged):
            return
        if event.reason is not Reason.STALLED or event.state is ElectionState.SUSPENDED:  # that is the process itself
            return
        self._is_said = True
        log_event(_logger, logging.WARNING, LogEvent.PERIODIC_BEATS_NOT, election=self._election, problem=_NO_BEAT)


def _seconds(field: str, duration: DurationLike) -> float:
    try:
        return parse_duration(duration).total_seconds()
    except ValueError as error:
        raise ConfigurationError(f"{field} = {duration!r}: {error}", field=field) from None


def _zone(timezone: str | tzinfo) -> tzinfo:
    if isinstance(timezone, tzinfo):
        return timezone
    try:
        return ZoneInfo(timezone)
    except (LookupError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"timezone = {timezone!r}: not known here; write it as in Europe/Berlin, and install tzdata if need be",
            field="timezone",
        ) from error
