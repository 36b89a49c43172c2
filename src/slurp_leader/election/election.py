"""An election as a program uses it: the elector on a thread of its own, and what it says, told on.

Two threads: one drives the `Elector`, the other tells listeners. Renewal never waits for a listener, and a listener
hears everything, in order.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import secrets
import threading
from collections.abc import Callable
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.election.beats import CrashGuard
from slurp_leader.election.elector import Elector
from slurp_leader.election.events import (
    BeatSaid,
    Consent,
    ConsentWanted,
    Drained,
    DropLease,
    DuplicateNode,
    ElectionState,
    Finished,
    FitnessChanged,
    GoOn,
    HeldBack,
    HoldLease,
    LeaderChanged,
    Note,
    Published,
    Reason,
    Renewed,
    ResignWanted,
    SayBeat,
    Settled,
    SettleWanted,
    StateChanged,
    StopWanted,
    Trouble,
)
from slurp_leader.election.handover import Lending
from slurp_leader.election.hooks import HookKind, Hooks
from slurp_leader.election.options import ElectionOptions
from slurp_leader.election.ranking.scoring import Free
from slurp_leader.election.records import ElectionKeys, Identity, LeaderInfo, nodes_prefix
from slurp_leader.election.service import RESTS
from slurp_leader.election.transactions import Told
from slurp_leader.election.transfer import Readiness
from slurp_leader.errors import LifecycleError, NoLeaderError, NotLeaderError, repr_of
from slurp_leader.forks import free_in_child
from slurp_leader.machine import Loop
from slurp_leader.store import Store
from slurp_leader.store.follow import Changes, FollowNotice, Snapshot
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.telemetry import metrics as instruments
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics, NoMetrics
from slurp_leader.term import Term

_logger = logging.getLogger("slurp_leader.election")

_LOOK_EVERY_S = 0.1
_LONGEST_GOODBYE_S = 8.0
"""A little more than the elector allows itself for finding a successor, and for giving key and lease back."""

ElectionEvent = StateChanged | LeaderChanged
Listener = Callable[[ElectionEvent], None]


class Election:
    """Stands for one election until stopped. Safe to use from any thread.

    It does not read the store itself: its owner hands it what a `Follower` of the election's keys (or of a wider range)
    delivers, through `feed`. So a program with jobs has one watch for both.

    For a forked child it has ended: what renews and tells are threads of the parent.

    Args:
        store: Where calls go. Not closed here.
        keyspace: Keys of the cluster.
        options: Name, lease and timing.
        identity: Who stands.
        clock: Source of time.
        metrics: Where measurements go.
        facts: Figures to put into each heartbeat; must not block.
        lending: How work in flight survives a handover; None: owners end it before.
        ready: Asks the owner whether this node could take over now; must not block.
        manifest: What to leave for the successor of an epoch when this term is handed over, written with that; must
            not block.
        free: Measures what is free of the machine, for the score; must not block.
        requires: Capabilities without which nobody leads; `options.requires`, if set, counts instead.
        rng: Source of ids and jitter.
        guard: Revokes the lease when this process dies or stalls; None: the TTL decides. Not closed here.
        hooks: Whom to call, and who may veto.
        needs_progress: Whether the work of a term has to call `Term.beat` at least every `stall_timeout`.
    """

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        options: ElectionOptions,
        identity: Identity,
        *,
        clock: Clock,
        metrics: Metrics | None = None,
        facts: Callable[[], dict[str, Any]] = dict,
        lending: Lending | None = None,
        ready: Callable[[], Readiness] = Readiness,
        manifest: Callable[[int, Term], Told] = lambda _epoch, _term: (),
        free: Callable[[], Free] = Free,
        requires: tuple[str, ...] = (),
        rng: random.Random | None = None,
        guard: CrashGuard | None = None,
        needs_progress: bool = False,
        hooks: Hooks | None = None,
    ) -> None:
        self.options = options
        self._guard = guard
        self._unfit = ""
        self._owner_ready = ready
        self.identity = identity
        self._clock = clock
        self._metrics = metrics or NoMetrics()
        keys = ElectionKeys.of(keyspace, options.name)
        self._elector = Elector(
            options,
            identity,
            keys,
            nodes_prefix(keyspace, identity.node_id),
            clock,
            rng or random.Random(secrets.randbits(128)),
            facts,
            lending,
            self._ready,
            manifest,
            free,
            requires=requires if options.requires is None else options.requires,
            guarded=guard is not None,
            needs_progress=needs_progress,
            needs_consent=lambda: self.hooks.may_veto,
        )
        self._settles_within_s = 0.0 if lending is None else lending.settles_within_s
        self._settler: Callable[[SettleWanted | GoOn], None] | None = None
        self._loop = Loop("slurp-election", _Started(self._elector), store, clock, self._perform, self._failed)
        self._teller = _Teller()
        self.hooks = hooks or Hooks(options.name, options.hook_timeout_s, metrics)
        self._pid: int | None = None  # of the process that started it
        self._changed = free_in_child(threading.Condition())
        # Guarded by _changed:
        self._state = ElectionState.FOLLOWER
        self._reason: Reason | None = None
        self._term: Term | None = None
        self._leader: LeaderInfo | None = None
        self._duplicates: tuple[str, ...] = ()
        self._finished = False
        self._gave_all_back = False
        self._why_ended = ""
        self._started = False
        self._stopping = False
        self._owners: set[str] = set()
        self._awaited: set[str] = set()
        self._idle_owners: dict[str, int] = {}  # with the token of the term they are done with
        self._draining_token: int | None = None
        self._lent: dict[int, set[str]] = {}  # owners that still have work of a term that was handed over
        self._last_renewal: tuple[float, Renewed] | None = None
        self._trouble: Trouble | None = None
        self._held_back = ""
        self._lets_others_go_first = ""

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to stand for election.

        Raises:
            LifecycleError: Started before.
        """
        with self._changed:
            if self._started:
                raise LifecycleError("this election was started before; make a new one")
            self._started, self._pid = True, os.getpid()
        self._teller.start()
        self._loop.start()

    def stop(self, *, hands_over: bool = True) -> bool:
        """Hand the lead over, or drain and release the key; then end the lease. Safe twice, and before `start`: then it
        ends as soon as it is started. A node that is being handed the lead, but does not lead yet, gives the key back.

        Blocks at most `stop_timeout` for the work of a term, and a few seconds for the rest; before a handover also
        for what cannot be lent (`Lending.settles_within_s`).

        Args:
            hands_over: Whether a successor is looked for. A node that hears nothing of etcd any more would only wait.

        Returns:
            Whether everything was given back. If not, the lease ends what is left. True in a forked child, which leaves
            it to the parent.
        """
        if self._is_of_parent:
            return True
        with self._changed:
            self._stopping, is_started = True, self._started
        self._loop.post(StopWanted(hands_over))  # kept until a start: a node may be found unable to lead before that
        if not is_started:
            return True
        with self._changed:
            work_s = self._settles_within_s + self.options.stop_timeout_s
            self._changed.wait_for(lambda: self._finished, timeout=work_s + _LONGEST_GOODBYE_S)
            clean = self._gave_all_back
        self._loop.stop()
        if not self._finished:
            self._break_off(Reason.SHUTDOWN)
        self._teller.stop()
        self.hooks.stop()
        return clean

    def feed(self, event: FollowNotice) -> None:
        """Hand over what was seen of the election's keys. Keys of others are ignored."""
        if isinstance(event, Snapshot | Changes):
            self._loop.post(event)

    # ------------------------------------------------------------ questions

    @property
    def state(self) -> ElectionState:
        """Where this node stands, as of the last thing that happened."""
        return self._state

    @property
    def reason(self) -> Reason | None:
        return self._reason

    @property
    def term(self) -> Term | None:
        """The term this node may act in right now; None when there is none."""
        term = self._term
        return term if term is not None and term.is_valid else None

    @property
    def is_leader(self) -> bool:
        """Whether this node may act as leader right now: a computation over the clock, never a stored answer."""
        return self.term is not None

    @property
    def leader(self) -> LeaderInfo | None:
        """Who led when etcd was last heard; None: nobody, or not known yet."""
        return self._leader

    @property
    def duplicates(self) -> tuple[str, ...]:
        """Sessions of other live processes with this node id: a mistake in their settings or ours."""
        return self._duplicates

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop: it stands no more after this term."""
        return self._stopping

    @property
    def has_ended(self) -> bool:
        """Whether it stands no more: stopped, or ended by itself; `reason` says why."""
        return self._finished or self._is_of_parent

    @property
    def why_ended(self) -> str:
        """What keeps this process from ever standing again, for people; empty: nothing that was seen so far."""
        return self._why_ended

    def is_news(self, why_ended: str) -> bool:
        """Take note of what keeps this process from ever standing again, and say whether nothing was known to before:
        elector and watch both find it out, and it is said in the log once."""
        with self._changed:
            before, self._why_ended = self._why_ended, self._why_ended or why_ended
        return not before

    @property
    def _is_of_parent(self) -> bool:
        """Whether this is a forked child: it has nothing that would go on with what its parent has started."""
        return self._pid not in (None, os.getpid())

    @property
    def last_renewal(self) -> tuple[float, Renewed] | None:
        """When the newest renewal round of a term of this node ended, in boottime seconds, and how."""
        return self._last_renewal

    @property
    def trouble(self) -> Trouble | None:
        """What keeps this node from a session or from the key, of late; None when nothing does."""
        return self._trouble

    @property
    def lets_others_go_first(self) -> str:
        """Why this candidate is unfit, as it tells the others; also where its owner says nothing against it."""
        return self._lets_others_go_first

    @property
    def held_back(self) -> str:
        """What forbids this node to take the key although nobody leads, for people; empty: nothing."""
        return self._held_back

    def require_term(self) -> Term:
        """The term in force.

        Raises:
            NotLeaderError: This node does not lead; `leader` names who does, if known.
        """
        term = self.term
        if term is None:
            leader = self._leader.node_id if self._leader else None
            who = f"{leader} does" if leader else "nobody does, as far as it knows"
            raise NotLeaderError(f"{self.identity.node_id} does not lead; {who}", leader=leader)
        return term

    def wait_for_leadership(self, timeout_s: float | None = None, given_up: Callable[[], bool] = bool) -> bool:
        """Wait until this node leads. False when the time is over, the election has stopped, or the wait was given up:
        that is seen at the next change, or `look_again`."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_leader or self.has_ended or given_up(), timeout=timeout_s)
            return self.is_leader

    def wait_until(self, is_so: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait until something is so that can come with a change of this election, or with `look_again`. It is asked
        while a lock is held, so it must not block. False when the time is over."""
        with self._changed:
            return self._changed.wait_for(is_so, timeout=timeout_s)

    def look_again(self) -> None:
        """Have all who wait here look whether what they wait for is so by now."""
        with self._changed:
            self._changed.notify_all()

    def wait_until_proved_again(self, term: Term, given_up: Callable[[], bool] = bool) -> bool:
        """Wait until a term that cannot be proved at present is proved again, or the wait is given up. False, as soon
        as it is over, or is about to be given back: then nothing may begin in it any more."""

        def is_over() -> bool:
            known = self._term
            return self.has_ended or known is None or known.token != term.token or self._draining_token == term.token

        with self._changed:
            while not is_over() and not term.is_valid and not given_up():
                term.beat()  # who waits here moves
                self._changed.wait(_LOOK_EVERY_S)  # trust may come back without a change of state
            return not is_over()

    def wait_for_leader(self, timeout_s: float | None = None) -> LeaderInfo:
        """Wait until somebody leads.

        Raises:
            NoLeaderError: Nobody did within the time, or before this election ended.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._leader is not None or self.has_ended, timeout=timeout_s)
            if self._leader is None:
                when = "before the election ended" if self.has_ended else f"within {timeout_s} s"
                raise NoLeaderError(f"nobody led {self.options.name!r} {when}")
            return self._leader

    # ------------------------------------------------------------ owners and listeners

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of every change from now on, in order, on a thread of the election.

        Returns:
            A function that ends it.
        """
        return self._teller.add(listener)

    def add_owner(self, name: str) -> None:
        """Name somebody whose `drained` is awaited before a term is given back."""
        with self._changed:
            self._owners.add(name)

    def remove_owner(self, name: str) -> None:
        """Await this owner no more, from the next term on; of a draining term, and of those that were handed over with
        their work, it counts as `drained`."""
        with self._changed:
            self._owners.discard(name)
            token = self._draining_token
            for lent in list(self._lent):
                self._ended_lent(name, lent)
        if token is not None:
            self.drained(name, token)
        with self._changed:
            self._idle_owners.pop(name, None)

    def drained(self, name: str, token: int) -> None:
        """Say that nothing of the term with this token runs at owner `name`, and nothing will.

        It counts for that term only, also when it is said before the term is to be given back. Of a term that was
        handed over with its work: that all of that has ended.
        """
        with self._changed:
            if token in self._lent:
                self._ended_lent(name, token)
                return
            self._idle_owners[name] = token
            if token == self._draining_token:
                is_last = self._awaited == {name}  # it is said once, however often each says it
                self._awaited.discard(name)
                all_drained = is_last
            else:
                all_drained = all(self._idle_owners.get(owner) == token for owner in self._owners)
        if all_drained:
            self._loop.post(Drained(token))

    def _ended_lent(self, name: str, token: int) -> None:
        """With the lock held: this owner has ended what it had under way when the term was handed over."""
        self._lent[token].discard(name)
        if not self._lent[token]:
            del self._lent[token]
            self._loop.post(Drained(token))

    def ask_before_handover(self, settler: Callable[[SettleWanted | GoOn], None]) -> None:
        """Name who has work that cannot be lent (`Lending.settles_within_s`), and answers with `settled`. Called on the
        election's own thread, ahead of all listeners: so it must not block, and may hear of a term that it was not told
        of yet."""
        self._settler = settler

    def settled(self, token: int) -> None:
        """Say that nothing of the term with this token is under way that cannot be lent, and nothing begins."""
        self._loop.post(Settled(token))

    def set_fitness(self, unfit: str) -> None:
        """Say why this node should not lead, or, with an empty text, that it should.

        Who should not hands over when somebody better stands, and lets others go first when the key is free, for a
        bounded time.
        """
        self._unfit = unfit
        self._loop.post(FitnessChanged(unfit))

    @property
    def unfit(self) -> str:
        """Why this node should not lead; empty when it should."""
        return self._unfit

    def _ready(self) -> Readiness:
        """Whether this node could take over now."""
        return Readiness(unfit=self._unfit) if self._unfit else self._owner_ready()

    def resign(self, pause_s: float = 2.0) -> None:
        """Hand the term over, or where nobody can take it, give it back after draining and let others go first for
        `pause_s` seconds. In a frozen election, where nobody can take it, it is kept.

        Raises:
            NotLeaderError: This node does not lead.
        """
        self._loop.post(ResignWanted(self.require_term().token, pause_s))

    def leave(self, pause_s: float = 2.0) -> Term | None:
        """As `resign`, also of a term that cannot be proved at present. Returns that term; None: there is none."""
        term = self._term
        if term is not None:
            self._loop.post(ResignWanted(term.token, pause_s))
        return term

    # ------------------------------------------------------------ what the elector says (on its thread)

    def _perform(self, command: Any) -> None:
        match command:
            case StateChanged():
                self._on_state(command)
            case LeaderChanged():
                self._on_leader(command)
            case DuplicateNode():
                self._on_duplicates(command)
            case Published() | HeldBack():
                self._on_standing(command)
            case Renewed():
                self._last_renewal = (self._clock.boottime(), command)
                name = self.options.name
                self._metrics.record(instruments.RENEWAL, command.duration_s, election=name, outcome=command.outcome)
                self._metrics.set(instruments.TRUST_REMAINING, command.remaining_s, election=name)
            case Note():
                self._note_trouble(command)
                log_event(_logger, command.level, command.event, election=self.options.name, **command.fields)
            case ConsentWanted() | SettleWanted() | GoOn():
                self._ask_owner(command)
            case HoldLease() | SayBeat() | DropLease():
                self._on_guard(command)
            case Finished():
                self._on_finished(clean=command.clean, why=command.why)
            case _:
                raise TypeError(f"the election knows no command {command!r}")

    def _ask_owner(self, command: ConsentWanted | SettleWanted | GoOn) -> None:
        if isinstance(command, ConsentWanted):
            token = command.term.token
            self.hooks.ask(command.term, lambda veto: self._loop.post(Consent(token, veto)))
        elif self._settler is not None:
            self._settler(command)
        elif isinstance(command, SettleWanted):
            self.settled(command.token)

    def _on_guard(self, command: HoldLease | SayBeat | DropLease) -> None:
        guard = self._guard
        if guard is None:
            return
        at = self._clock.boottime()  # before it is said: from then on, at the latest, the guard counts
        if isinstance(command, DropLease):
            guard.drop(command.lease_id)
        elif isinstance(command, HoldLease):
            told = guard.hold(command.lease_id, command.ttl_s, command.stall_s)
            self._loop.post(BeatSaid(command.lease_id, at, told))
        else:
            self._loop.post(BeatSaid(command.lease_id, at, guard.beat(command.lease_id)))

    def _note_trouble(self, note: Note) -> None:
        if note.event is LogEvent.ELECTION_CALL_FAILED:
            since = self._trouble.since if self._trouble else self._clock.boottime()
            facts = {name: str(note.fields.get(name, "")) for name in ("kind", "doing", "error")}
            self._trouble = Trouble(since, **facts)

    def _on_state(self, event: StateChanged) -> None:
        self._trouble = None
        leads = event.state in (ElectionState.LEADER, ElectionState.SUSPENDED, ElectionState.DRAINING)
        with self._changed:
            self._state, self._reason = event.state, event.reason
            self._term = event.term if leads else None
            drains = event.term if event.state is ElectionState.DRAINING else None
            self._draining_token = drains.token if drains else None
            self._awaited = {name for name in self._owners if self._idle_owners.get(name) != self._draining_token}
            nobody_to_wait_for = not self._awaited
            if event.reason is Reason.HANDOVER and event.term is not None and event.term.trust.lent is not None:
                token = event.term.token
                self._lent[token] = {name for name in self._owners if self._idle_owners.get(name) != token} | {""}
                self._ended_lent("", token)
            term = event.term
            if term is not None and not leads:
                term.lost.set()
            if term is not None and (not leads or event.state is ElectionState.DRAINING):
                term.leaving.set()
            self._changed.notify_all()  # who waits here may wait for the two above
        name = self.options.name
        self._metrics.set(instruments.IS_LEADER, float(event.state is ElectionState.LEADER), election=name)
        self._metrics.add(instruments.TRANSITIONS, election=name, state=event.state.value, reason=event.reason.value)
        log_event(
            _logger,
            logging.INFO,
            LogEvent.ELECTION_STATE,
            election=name,
            node_id=self.identity.node_id,
            state=event.state.value,
            reason=event.reason.value,
            token=term.token if term else None,
            epoch=term.epoch if term else None,
        )
        self._teller.tell(event)
        self._call_hooks(event)
        if drains is not None and nobody_to_wait_for:
            self._loop.post(Drained(drains.token))

    def _call_hooks(self, event: StateChanged) -> None:
        if event.state is ElectionState.LEADER and event.reason is not Reason.RENEWED:
            self.hooks.call(HookKind.LEADING, event.term)
        if event.state in (ElectionState.CANDIDATE, ElectionState.FOLLOWER) and event.term is not None:
            self.hooks.call(HookKind.LOST, event.term, event.reason)
        if event.state is ElectionState.CANDIDATE and not self._stopping:  # who stops stands by for nothing
            self.hooks.call(HookKind.STANDBY)

    def _on_leader(self, event: LeaderChanged) -> None:
        with self._changed:
            self._leader = event.leader
            self._changed.notify_all()
        name = self.options.name
        if event.leader is not None:
            self._trouble = None
        if event.leader is not None and event.leader.record is not None:
            self._metrics.set(instruments.EPOCH, float(event.leader.record.epoch), election=name)
        if event.vacancy_s is not None:
            self._metrics.record(instruments.VACANCY, event.vacancy_s, election=name)
        self._teller.tell(event)

    def _on_duplicates(self, event: DuplicateNode) -> None:
        self._duplicates = event.sessions
        if event.sessions:
            log_event(
                _logger,
                logging.ERROR,
                LogEvent.ELECTION_DUPLICATE_NODE,
                node_id=event.node_id,
                sessions=list(event.sessions),
                fix="give each node its own node.id",
            )

    def _on_standing(self, command: Published | HeldBack) -> None:
        if isinstance(command, Published):
            self._lets_others_go_first = "" if command.unfit == RESTS else command.unfit
            return
        why = self._held_back = command.why
        if why:
            log_event(_logger, logging.WARNING, LogEvent.ELECTION_HELD_BACK, election=self.options.name, why=why)

    def _on_finished(self, *, clean: bool, why: str = "") -> None:
        if why and self.is_news(why):
            log_event(_logger, logging.ERROR, LogEvent.ELECTION_ENDED, election=self.options.name, error=why)
        with self._changed:
            self._finished = True
            self._gave_all_back = clean
            self._changed.notify_all()

    def _failed(self, _error: BaseException) -> None:
        """The elector had a bug."""
        self._break_off(Reason.FAILED)

    def _break_off(self, reason: Reason) -> None:
        """The loop has ended before the elector had: nothing renews any more, so nothing may be trusted any more."""
        term = self._term
        if term is not None:
            term.trust.until = float("-inf")
            term.trust.changing_hands = False
        self._on_state(StateChanged(ElectionState.FOLLOWER, reason, term))
        self._on_finished(clean=False)


class _Started:
    """The elector, started by the first step on its own thread."""

    def __init__(self, elector: Elector) -> None:
        self._elector = elector
        self._started = False

    @property
    def wake_at(self) -> float:
        return self._elector.wake_at if self._started else float("-inf")

    def step(self, event: Any, now: float) -> list[Any]:
        if self._started:
            return self._elector.step(event, now)
        self._started = True
        return self._elector.start(now) + self._elector.step(event, now)


class _Teller:
    """Tells listeners, in order, on its own thread; what a listener does or raises harms nobody else."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[ElectionEvent | None] = queue.SimpleQueue()
        self._listeners: list[Listener] = []
        self._thread = threading.Thread(target=self._run, name="slurp-election-events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, listener: Listener) -> Callable[[], None]:
        self._listeners = [*self._listeners, listener]

        def remove() -> None:
            self._listeners = [known for known in self._listeners if known is not listener]

        return remove

    def tell(self, event: ElectionEvent) -> None:
        self._queue.put(event)

    def stop(self) -> None:
        self._queue.put(None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5)

    def _run(self) -> None:
        while (event := self._queue.get()) is not None:
            for listener in self._listeners:
                try:
                    listener(event)
                except BaseException as error:  # SystemExit too: on this thread it would only leave all others deaf
                    log_event(_logger, logging.ERROR, LogEvent.ELECTION_LISTENER_FAILED, error=repr_of(error))
                    _logger.exception("an election listener raised")
