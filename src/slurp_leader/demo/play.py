"""One whole run: set the stage, play, judge, report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from slurp_leader.clock import Clock
from slurp_leader.demo.checker import check
from slurp_leader.demo.drama import KILL_AT, Aborted, Drama, Inbox, KillRule, Screen
from slurp_leader.demo.node import CLUSTER, demo_settings
from slurp_leader.demo.report import Report, Run, contexts, make_report
from slurp_leader.demo.requests import Plan
from slurp_leader.demo.stage import Stage
from slurp_leader.demo.submitter import Pace, Submitting
from slurp_leader.demo.witness import Witness
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.system import SlurpLeaderSystem

_STEADY_BURST, _STEADY_PAUSE_S = 5, 0.3
_FAST_BURST = 63
_HELD_BACK = 0.3


@dataclass(frozen=True, slots=True)
class Play:
    """What is played: how many nodes, whether the leader is killed by itself, and how fast requests come in."""

    plan: Plan
    nodes: int
    kill: bool
    fast: bool

    def pace(self) -> Pace:
        """With a kill, the last requests come after it: the second leader always has something to record."""
        held_back = int(len(self.plan.requests) * _HELD_BACK) if self.kill else 0
        return Pace(_FAST_BURST, 0.0, held_back) if self.fast else Pace(_STEADY_BURST, _STEADY_PAUSE_S, held_back)

    def rule(self) -> KillRule:
        return KillRule(int(len(self.plan.requests) * KILL_AT) if self.kill else None)


def perform(
    play: Play, stage: Stage, screen: Screen, inbox: Inbox, signum: Callable[[], int | None], clock: Clock
) -> Report:
    """Play on a stage without nodes, up to the verdict.

    Args:
        play: What is played.
        stage: A running etcd. Nodes are started on it, and ended.
        screen: Shows it.
        inbox: Signals and keys.
        signum: The signal that came in, if any.
        clock: Source of time.

    Raises:
        Aborted: A signal came in.
        DemoError: It could not be played to its end.
    """
    keyspace = Keyspace(CLUSTER)
    with ExitStack() as closing:
        for number in range(play.nodes):
            stage.add_node(f"node-{number + 1}", play.plan.root)
        store = EtcdStore(EtcdOptions(endpoints=[stage.etcd.endpoint]), clock=clock)
        closing.callback(store.close)
        witness = Witness(store, keyspace, clock, lambda: inbox.put(None))
        closing.callback(witness.close)
        settings = demo_settings(stage.etcd.endpoint, "submitter", play.plan.root)
        client = SlurpLeaderSystem(settings, candidate=False)
        submitting = Submitting(client, play.plan.requests, play.pace(), clock, lambda: inbox.put(None))
        closing.callback(submitting.join)
        closing.enter_context(client)
        closing.callback(submitting.cancel)
        drama = Drama(stage, witness, submitting, len(play.plan.requests), play.rule(), inbox, screen, clock)
        drama.perform()
        # First the nodes, then the verdict: nobody can write any more what the witness would not have seen.
        stage.stop_nodes(aborted=lambda: signum() is not None)
        history = witness.whole_history()
        if (came := signum()) is not None:
            raise Aborted(came)
        with witness.looking() as picture:
            run = Run(
                path=str(play.plan.root),
                etcd=stage.etcd.binary.version,
                nodes=play.nodes,
                files=play.plan.files,
                wanted=len(play.plan.requests),
                refusals=submitting.refusals,
                kills=drama.kills,
                news=drama.news,
                working_s=(picture.last_outcome_s or submitting.began_s) - submitting.began_s,
            )
            return make_report(run, check(history, submitting.accepted, keyspace), picture, contexts(history, keyspace))
