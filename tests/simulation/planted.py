"""Errors planted on purpose: each takes one rule out of the code, for the checker to notice.

Most change what is sent to the store, between machine and wire, because a missing condition is what a protocol error
comes down to; the others replace one method. None of them touches the checker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from simulation.cluster import JOB_KEYS
from slurp_leader.election.elector import Elector
from slurp_leader.election.handover import Handover
from slurp_leader.election.ranking import eligible
from slurp_leader.election.renewal import Renewal
from slurp_leader.jobs import recovery
from slurp_leader.jobs.checkpoints import Checkpoints
from slurp_leader.jobs.commit import Committer
from slurp_leader.jobs.intent import Settlement, Verdict
from slurp_leader.jobs.picture import Picture
from slurp_leader.jobs.recovery import CloseClaim, InHand
from slurp_leader.jobs.scheduler import Lost, Scheduler, StopRun
from slurp_leader.jobs.submitter import Submit, Submitted, Submitter
from slurp_leader.machine import Calls
from slurp_leader.periodic.machine import PeriodicMachine
from slurp_leader.periodic.messages import Settled
from slurp_leader.store import Compare, Delete, KeepAliveResult, Put, Txn
from slurp_leader.term import Term
from support.electing import KEYS

Patch = tuple[Any, str, Any]


@dataclass(frozen=True, slots=True)
class Planted:
    """One rule, taken out.

    Attributes:
        within: It has to be noticed in so many seeds.
        first: Where to begin. A seed that showed the error once saves time; when the code has changed since and another
            seed shows it now, nothing but that time is lost.
    """

    rule: str
    patches: tuple[Patch, ...]
    within: int = 300
    first: int = 0

    @property
    def seeds(self) -> list[int]:
        return [(self.first + number) % self.within for number in range(self.within)]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, value in self.patches:
                stack.callback(setattr, owner, name, owner.__dict__[name])
                setattr(owner, name, value)
            yield


# ---------------------------------------------------------------- conditions left out


def _without(
    dropped: Callable[[Compare], bool], chosen: Callable[[Txn], bool] = lambda _txn: True
) -> tuple[Patch, ...]:
    """Send chosen transactions without the compares that are dropped."""
    send = Calls.send

    def careless(self: Calls, request: Any, timeout_s: float, handler: Any) -> Any:
        if isinstance(request, Txn) and request.compares and chosen(request):
            request = replace(request, compares=tuple(c for c in request.compares if not dropped(c)))
        return send(self, request, timeout_s, handler)

    return ((Calls, "send", careless),)


def _on(*prefixes: bytes) -> Callable[[Compare], bool]:
    return lambda compare: compare.key.startswith(prefixes)


def _deletes(prefix: bytes) -> Callable[[Txn], bool]:
    return lambda txn: any(isinstance(step, Delete) and step.key.startswith(prefix) for step in txn.success)


def _puts(prefix: bytes) -> Callable[[Txn], bool]:
    return lambda txn: any(isinstance(step, Put) and step.key.startswith(prefix) for step in txn.success)


def _brings_back(txn: Txn) -> bool:
    return _puts(JOB_KEYS.queue)(txn) and _deletes(JOB_KEYS.done)(txn)


def _about_jobs(txn: Txn) -> bool:
    return not _puts(KEYS.prefix)(txn) and not _deletes(KEYS.prefix)(txn)


# ---------------------------------------------------------------- methods replaced


def _ends_without_taking_out() -> tuple[Patch, ...]:
    send = Calls.send

    def torn(self: Calls, request: Any, timeout_s: float, handler: Any) -> Any:
        if isinstance(request, Txn) and _puts(JOB_KEYS.done)(request):
            kept = (s for s in request.success if not (isinstance(s, Delete) and s.key.startswith(JOB_KEYS.queue)))
            request = replace(request, success=tuple(kept))
        return send(self, request, timeout_s, handler)

    return ((Calls, "send", torn),)


def _claims_never_closed() -> tuple[Patch, ...]:
    send = Calls.send

    def idle(self: Calls, request: Any, timeout_s: float, handler: Any) -> Any:
        closes = isinstance(request, Txn) and _deletes(JOB_KEYS.run)(request) and _puts(JOB_KEYS.state)(request)
        return send(self, Txn() if closes else request, timeout_s, handler)

    return ((Calls, "send", idle),)


def _nothing_forbids() -> tuple[Patch, ...]:
    return ((eligible, "_forbidden", lambda _candidate, _circumstances: iter(())),)


def _silence_taken_for_refusal() -> tuple[Patch, ...]:
    def hasty(self: Committer, batch: Any, error: Exception, now: float) -> None:
        self._settle_all(batch, Settlement(Verdict.REFUSED, reason=str(error)), now)

    return ((Committer, "_failed", hasty),)


def _acknowledged_at_once() -> tuple[Patch, ...]:
    step = Submitter.step

    def hasty(self: Submitter, event: Any, now: float) -> list[Any]:
        out = [command for command in step(self, event, now) if not isinstance(command, Submitted)]
        return [*out, Submitted(event.ticket, event.spec.job_id)] if isinstance(event, Submit) else out

    return ((Submitter, "step", hasty),)


def _trusted_from_the_answer() -> tuple[Patch, ...]:
    kept_alive = Renewal._kept_alive

    def late(self: Renewal, this: Any, session: Any, result: Any, now: float) -> None:
        this.sent_at = now
        kept_alive(self, this, session, result, now)

    return ((Renewal, "_kept_alive", late),)


def _trusted_by_keepalive_alone() -> tuple[Patch, ...]:
    kept_alive = Renewal._kept_alive

    def gullible(self: Renewal, this: Any, session: Any, result: Any, now: float) -> None:
        kept_alive(self, this, session, result, now)
        if isinstance(result, KeepAliveResult) and this is self.round and this.reign and this.reign.announced:
            trust = this.reign.term.trust
            trust.until = max(trust.until, this.proves_until(session.timing))

    return ((Renewal, "_kept_alive", gullible),)


def _refused_heartbeat_ignored() -> tuple[Patch, ...]:
    beat = Renewal._beat

    def deaf(self: Renewal, this: Any, reign: Any, session: Any, result: Any, now: float) -> None:
        if isinstance(result, Exception) or result.succeeded:
            beat(self, this, reign, session, result, now)
        else:
            self._proved(this, reign, session, now)

    def blind(self: Elector, now: float) -> None:
        """Nor does the watch end a term."""

    return ((Renewal, "_beat", deaf), (Elector, "_notice_deposition", blind))


def _win_taken_for_proof() -> tuple[Patch, ...]:
    won = Elector._won

    def rash(self: Elector, session: Any, *facts: Any) -> None:
        won(self, session, *facts)
        renewal = self._renewal
        renewal.round.ttl_s = session.timing.ttl_s
        renewal._proved(renewal.round, self._reign, session, facts[-1])

    return ((Elector, "_won", rash),)


def _nothing_stopped_at_loss() -> tuple[Patch, ...]:
    step = Scheduler.step

    def heartless(self: Scheduler, event: Any, now: float) -> list[Any]:
        out = step(self, event, now)
        return [c for c in out if not isinstance(c, StopRun)] if isinstance(event, Lost) else out

    return ((Scheduler, "step", heartless),)


def _taken_over_at_once() -> tuple[Patch, ...]:
    progress = Picture.progress

    def complete(self: Picture, revision: int) -> None:
        progress(self, revision)
        self.revision = 1 << 40

    return ((Picture, "progress", complete),)


def _not_suspended_before() -> tuple[Patch, ...]:
    def rash(self: Elector, now: float) -> None:
        """Trust goes on while the transaction is under way."""
        self._reign.term.trust.changing_hands = True
        self._renewal.forget()

    return ((Elector, "suspend_for_handover", rash),)


def _handover_given_up_in_doubt() -> tuple[Patch, ...]:
    def hasty(self: Handover, plan: Any, decision: Any, error: Any, now: float) -> None:
        self._fail(plan, "refused", now)

    return ((Handover, "_not_decided", hasty),)


def _grants_not_seen() -> tuple[Patch, ...]:
    to_close = recovery._claims_to_close

    def blind(picture: Picture, in_hand: InHand) -> tuple[CloseClaim, ...]:
        grants, picture.grants = picture.grants, {}
        steps = tuple(to_close(picture, in_hand))
        picture.grants = grants
        return steps

    return ((recovery, "_claims_to_close", blind),)


def _settled_at_once() -> tuple[Patch, ...]:
    def hasty(self: PeriodicMachine, token: int, now: float) -> None:
        """What is under way goes on."""
        self._settling = token
        self._out.append(Settled(token))

    return ((PeriodicMachine, "_settle", hasty),)


def _claims_not_waited_for() -> tuple[Patch, ...]:
    say_done = PeriodicMachine._say_done

    def hasty(self: PeriodicMachine) -> None:
        kept = [(task, task.writing, task.claimed) for task in self._tasks.values()]
        for task, *_ in kept:
            task.writing = task.claimed = None
        say_done(self)
        for task, writing, claimed in kept:
            task.writing, task.claimed = writing, claimed

    return ((PeriodicMachine, "_say_done", hasty),)


def _hands_over(txn: Txn) -> bool:
    return _deletes(KEYS.ack)(txn)


_JOB = (JOB_KEYS.queue, JOB_KEYS.state)
"""What holds a job."""

PLANTED: dict[str, Planted] = {
    "jobs_without_fence": Planted(
        "I2: what a leader writes compares its token", _without(_on(KEYS.leader), _about_jobs)
    ),
    "outcome_without_job": Planted(
        "B: an outcome compares queue and state revision", _without(_on(*_JOB), _puts(JOB_KEYS.done)), first=21
    ),
    "claim_closed_without_jobs": Planted(
        "B: closing an orphaned claim compares its jobs and the record",
        _without(_on(*_JOB, JOB_KEYS.run), _deletes(JOB_KEYS.run)),
        first=62,
    ),
    "submit_without_done": Planted(
        "A4: submit compares that there is no outcome",
        _without(_on(JOB_KEYS.queue, JOB_KEYS.done), _puts(JOB_KEYS.queue)),
    ),
    "submit_without_floor": Planted(
        "A4: submit compares the pruning floor", _without(_on(JOB_KEYS.floor), _puts(JOB_KEYS.queue)), first=188
    ),
    "key_without_compare": Planted(
        "A27: one job for one idempotency key", _without(_on(JOB_KEYS.idem), _puts(JOB_KEYS.idem))
    ),
    "epoch_without_compare": Planted(
        "A21: no two terms with one epoch", _without(_on(KEYS.epoch), _puts(KEYS.leader)), first=107
    ),
    "taken_without_orders": Planted(
        "A17: whoever takes the key compares the orders", _without(_on(KEYS.operator), _puts(KEYS.leader)), first=75
    ),
    "frozen_and_elected": Planted("A17: nobody is elected in a frozen election", _nothing_forbids(), first=1),
    "stolen_without_heartbeat": Planted(
        "A7: a steal compares the heartbeat", _without(_on(KEYS.heartbeat), _puts(KEYS.leader)), first=83
    ),
    "released_by_name": Planted(
        "I2: the key is given back by token", _without(_on(KEYS.leader), _deletes(KEYS.leader))
    ),
    "no_answer_means_no": Planted("A2: an answer that did not come is unknown", _silence_taken_for_refusal()),
    "torn_outcome": Planted("I5: outcome and end of the queue record are one", _ends_without_taking_out()),
    "acknowledged_before_commit": Planted("I5: accepted means kept", _acknowledged_at_once()),
    "trusted_from_the_answer": Planted("I3: trust counts from before the send", _trusted_from_the_answer(), first=67),
    "trusted_by_keepalive_alone": Planted(
        "I3: trust needs a fenced heartbeat too", _trusted_by_keepalive_alone(), first=77
    ),
    "refused_heartbeat_ignored": Planted(
        "I3: a refused heartbeat ends the term", _refused_heartbeat_ignored(), first=2
    ),
    "win_taken_for_proof": Planted(
        "D: the first window needs a full round after the win", _win_taken_for_proof(), first=51
    ),
    "orphans_closed_in_memory_only": Planted(
        "B: closing an orphaned claim is written down", _claims_never_closed(), first=1
    ),
    "orphans_not_counted": Planted(
        "B: closing a claim counts its live runs", ((Picture, "live_entries", lambda self, view: []),)
    ),
    "taken_over_at_once": Planted("A15: no claim before the picture is complete", _taken_over_at_once(), first=90),
    "nothing_stopped_at_loss": Planted("I4: the loss of a term stops its runs", _nothing_stopped_at_loss(), first=2),
    "handed_over_without_suspending": Planted("A6: trust ends before the handover is sent", _not_suspended_before()),
    "handed_over_without_heartbeat": Planted(
        "C: a handover compares the last heartbeat, so that the next one kills a late copy",
        (*_handover_given_up_in_doubt(), *_without(_on(KEYS.heartbeat), _hands_over)),
        first=37,
    ),
    "granted_without_grant": Planted(
        "C: what is ended under a grant compares it", _without(_on(JOB_KEYS.grant)), within=900, first=118
    ),
    "granted_runs_closed": Planted(
        "C: nobody closes what an old leader may still end",
        (*_without(_on(JOB_KEYS.grant), _deletes(JOB_KEYS.run)), *_grants_not_seen()),
    ),
    "tried_again_without_outcome": Planted(
        "B: a job comes back only from the outcome that was looked at",
        _without(_on(JOB_KEYS.done, JOB_KEYS.queue), _brings_back),
        first=4,
    ),
    "wish_without_incarnation": Planted(
        "A18: a wish to end a job compares its incarnation",
        _without(_on(JOB_KEYS.queue), _puts(JOB_KEYS.cancel)),
        first=3,
    ),
    "checkpoint_without_job": Planted(
        "B: a checkpoint compares its job", _without(_on(*_JOB, KEYS.leader), _puts(JOB_KEYS.checkpoint)), first=226
    ),
    "checkpoint_not_asked_for": Planted(
        "a run is given the newest checkpoint", ((Checkpoints, "_read", lambda *_: None),), first=1
    ),
    "handed_over_in_mid_run": Planted("P: a handover waits for periodic runs", _settled_at_once()),
    "handed_over_with_a_claim": Planted(
        "P: a handover waits for claims of periodic work", _claims_not_waited_for(), first=167
    ),
    "held_up_for_ever": Planted(
        "P: periodic work goes on when a handover fails",
        ((PeriodicMachine, "_go_on", lambda self, token, now: None),),
        first=264,
    ),
    "valid_for_ever": Planted("I3: no body starts without trust", ((Term, "is_valid", property(lambda self: True)),)),
}
