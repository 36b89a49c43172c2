"""What goes wrong, and what the submitters ask for, drawn from the seed: first trouble, then peace."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from simulation.cluster import ELECTION, JOB_KEYS, Body, Cluster, SimNode
from slurp_leader.election.operator import Forced, OperatorRecord, read_operator
from slurp_leader.election.records import LeaderRecord
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.errors import StoreBusyError
from slurp_leader.jobs.new_job import OnDuplicate
from slurp_leader.jobs.picking.control import ALL, QueueControl
from slurp_leader.jobs.records import JobOutcome, JobStatus
from slurp_leader.jobs.request import Priority
from slurp_leader.orders import Order
from slurp_leader.store import Delete, Get, Header, KeepAlive, KeepAliveResult, Put, Request, Txn, prefix_end
from support.electing import KEYS
from support.virtual import (
    Fate,
    Host,
    Write,
    answer_lost,
    connection_refused,
    failed,
    fine,
    full,
    late,
    request_lost,
    takes_space,
)

_OPERATOR = Order("operator")
TROUBLE_S = 24.0
PEACE_S = 180.0
"""Longest time that everything may take to come right. While the breaker is open one job at a time is tried, each up to
three times, and each may take the whole of its timeout: two minutes for a dozen of them (seed 20281)."""
REQUESTS = 26


class Trouble:
    """Draws everything that happens to one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.draw = random.Random(self.world.rng.getrandbits(64))
        self._net = random.Random(self.world.rng.getrandbits(64))
        self._slow_until = 0.0
        self._full_until = 0.0
        self._hollow: set[str] = set()
        self._peace = False
        self._work: random.Random | None = None
        self.world.on_write.append(self._strike)
        self.world.choose_fate = self._fate
        self.world.watch_delay_s = self._watch_delay_s

    def begin(self) -> None:
        """Lay out the time of trouble: what is asked for, and what breaks."""
        draw, world = self.draw, self.world
        kills = draw.random() < 0.3
        for number in range(REQUESTS):
            world.after(draw.uniform(0.0, TROUBLE_S), self._ask, kills and number == 0)
        if world.seed % 3 == 1:
            self._set_operators_to_work()
        if self.cluster.nodes[0].periodic is not None:
            self._wish_for_handovers()
        at = 1.0
        while at < TROUBLE_S - 1.0:
            world.after(at, draw.choice(self._kinds()))
            at += draw.expovariate(0.6)
        world.after(TROUBLE_S, self.make_peace)

    # ------------------------------------------------------------ requests

    def _ask(self, kills: bool) -> None:
        draw = self.draw
        submitter = draw.choice([s for s in self.cluster.submitters if s.up] or self.cluster.submitters)
        if not submitter.up or submitter.host.paused:
            return
        body = Body(
            seconds=draw.choice((0.01, 0.1, 0.3, 1.0, 1.0, 3.6)),
            fails=draw.choice((0, 0, 0, 0, 1, 2, 9)),
            terminal=draw.random() < 0.05,
            kills=kills,
            deaf=draw.random() < 0.05,
        )
        key = f"key-{draw.randrange(6)}" if draw.random() < 0.4 else None
        text = draw.choice(("one", "one", "one", "two")) if key else "any"
        on_duplicate = OnDuplicate.RETURN_EXISTING
        if self._work is not None:
            body = replace(body, notes=self._work.random() < 0.3)
            if key is not None and self._work.random() < 0.4:
                on_duplicate = OnDuplicate.REPLACE
        submitter.submit(body, draw.choice(list(Priority)), key, text, on_duplicate)
        if draw.random() < 0.25:
            self.world.after(draw.expovariate(0.7), self._cancel_one)

    def _cancel_one(self) -> None:
        accepted = [r.job_id for r in self.cluster.history.requests.values() if r.accepted]
        submitter = self.draw.choice(self.cluster.submitters)
        if accepted and submitter.up and not submitter.host.paused:
            submitter.cancel(self.draw.choice(accepted[-6:]))

    # ------------------------------------------------------------ operators

    def _set_operators_to_work(self) -> None:
        """Jobs are replaced and tried again, and leave checkpoints; the queue is paused and limited.

        In every third seed, and drawn apart: so that the others stay what they are.
        """
        self._work = work = random.Random(f"operators of {self.world.seed}")
        for _ in range(4):
            self.world.after(work.uniform(2.0, TROUBLE_S - 2.0), self._retry_one)
        for _ in range(3):
            self.world.after(work.uniform(1.0, TROUBLE_S - 4.0), self._order_queue)

    def _retry_one(self) -> None:
        done = self.world.apply(Get(JOB_KEYS.done, prefix_end(JOB_KEYS.done))).kvs
        outcomes = [JobOutcome.from_value(kv.key, kv.value) for kv in done]
        ended = [outcome.job_id for outcome in outcomes if outcome.status is not JobStatus.COMPLETED]
        for submitter in self.cluster.submitters:
            if ended and submitter.up and not submitter.host.paused and not self._peace:
                submitter.retry(self._work_draw.choice(ended))  # sometimes both want the same
                if self._work_draw.random() < 0.7:
                    return

    def _order_queue(self) -> None:
        kind, change, undo = self._work_draw.choice(
            (
                ("queue_paused", lambda now: now.pause(ALL, _OPERATOR), lambda now: now.resume(ALL)),
                (
                    "queue_limited",
                    lambda now: now.limit(ALL, 1, _OPERATOR),
                    lambda now: now.limit(ALL, None, _OPERATOR),
                ),
                ("queue_scaled", lambda now: now.scale(4, _OPERATOR), lambda now: now.scale(None, _OPERATOR)),
            )
        )
        self.world.count(kind)
        self._give_queue_order(change)
        self.world.after(self._work_draw.choice((0.5, 2.0, 5.0)), self._give_queue_order, undo)

    def _give_queue_order(self, change: Callable[[QueueControl], QueueControl]) -> None:
        found = self.world.apply(Get(JOB_KEYS.queue_control)).kvs
        before = QueueControl.from_value(found[0].key, found[0].value) if found else QueueControl()
        self.world.apply(Put(JOB_KEYS.queue_control, change(before).to_value()))

    @property
    def _work_draw(self) -> random.Random:
        assert self._work is not None
        return self._work

    def _wish_for_handovers(self) -> None:
        """Where there is periodic work. Some are refused while they wait for it: an order moves what they compare."""
        wishes = random.Random(f"handovers of {self.world.seed}")
        for _ in range(8):
            at = wishes.uniform(1.0, TROUBLE_S)
            self.world.after(at, self._transfer)
            if wishes.random() < 0.5:
                self.world.after(at + wishes.uniform(0.1, 1.0), self._order)

    # ------------------------------------------------------------ what breaks

    def _kinds(self) -> list[Callable[[], None]]:
        return [
            self._pause,
            self._pause,
            self._crash,
            self._crash,
            self._cut_off,
            self._deafen,
            self._deafen,
            self._fill_store,
            self._compact,
            self._resign,
            self._stop,
            self._transfer,
            self._transfer,
            self._transfer,
            self._slow_down,
            self._step_down,
            self._order,
            self._order,
            self._order,
            self._force,
            self._make_unfit,
            self._depose,
            self._depose,
            self._blind_succession,
            self._isolate_member,
            self._crash_submitter,
        ]

    def _a_node(self) -> SimNode:
        """Mostly the leader: that is where it hurts."""
        leaders = [node for node in self.cluster.nodes if node.leads]
        return leaders[0] if leaders and self.draw.random() < 0.7 else self.draw.choice(self.cluster.nodes)

    def _pause(self) -> None:
        self._pause_host(self._any_host())

    def _pause_host(self, host: Host) -> None:
        if not host.paused and not self._peace:
            self._note("pause", host)
            host.pause()
            self.world.after(self.draw.choice((0.3, 1.0, 3.0, 5.0, 8.0)), self._resume, host, host.life)

    def _resume(self, host: Host, life: int) -> None:
        if host.paused and host.life == life:
            host.resume()

    def _crash(self) -> None:
        self._crash_node(self._a_node())

    def _crash_node(self, node: SimNode) -> None:
        if node.up and not self._peace:
            self._note("crash", node.host)
            node.crash()
            self.world.after(self.draw.choice((0.1, 0.5, 2.0, 6.0)), node.restart)

    def _crash_submitter(self) -> None:
        submitter = self.draw.choice(self.cluster.submitters)
        if submitter.up:
            self._note("crash_submitter", submitter.host)
            submitter.crash()
            self.world.after(self.draw.choice((0.1, 1.0)), submitter.restart)

    def _cut_off(self) -> None:
        self._cut_off_host(self._any_host())

    def _cut_off_host(self, host: Host) -> None:
        if self._peace:
            return
        self._note("cut_off_host", host)
        host.cut_off = True
        self.world.after(self.draw.choice((0.5, 2.0, 5.0, 9.0)), self._reach_again, host)

    def _reach_again(self, host: Host) -> None:
        host.cut_off = host.deaf = False
        for feed in host.feeds:
            feed.nudge()

    def _deafen(self) -> None:
        host = self.draw.choice(list(self.world.hosts.values()))
        self._note("deaf", host)
        host.deaf = True
        self.world.after(self.draw.choice((0.5, 2.0, 6.0)), self._reach_again, host)

    def _fill_store(self) -> None:
        self.world.count("store_full")
        self._full_until = self.world.clock.now + self.draw.choice((0.5, 2.0, 6.0))

    def _slow_down(self) -> None:
        """Everything takes long, answers above all."""
        self.world.count("slow")
        self._slow_until = self.world.clock.now + self.draw.choice((1.0, 2.0, 4.0))

    def _depose(self) -> None:
        """An operator deletes the leader key by force: the only way to end a term that its leader still trusts."""
        history = self.cluster.history
        if history.holder:
            self.world.count("deposed")
            history.forced.add(history.holder)
            self.world.apply(Delete(KEYS.leader))

    def _blind_succession(self) -> None:
        """The leader dies while the watches of all others are deaf: the next one begins with an old picture."""
        leaders = [node for node in self.cluster.nodes if node.leads]
        if not leaders:
            return
        self.world.count("blind_succession")
        for node in self.cluster.nodes:
            if node is not leaders[0]:
                node.host.deaf = True
                self.world.after(self.draw.uniform(6.0, 10.0), self._reach_again, node.host)
        self.world.after(self.draw.uniform(0.2, 1.5), self._crash_node, leaders[0])

    def _strike(self, write: Write) -> None:
        """Hit a leader where it hurts: trust must not outlast what it rests on.

        Who has just won is often paused or cut off at once; and who has just renewed on a slow network is cut off while
        the answer is still on its way.
        """
        if not write.author or self._peace:
            return
        granted = [e.kv.key for e in write.events if e.kv.key.startswith(JOB_KEYS.grant) and e.kv.version]
        if granted and self.draw.random() < 0.5:
            self.world.after(self.draw.uniform(0.0, 1.0), self._end_grant, granted[0])
        host = self.world.hosts[write.author]
        keys = {event.kv.key for event in write.events if event.kv.version}
        if KEYS.leader in keys and self.draw.random() < 0.3:
            kind = self.draw.choice((self._pause_host, self._cut_off_host))
            self.world.after(self.draw.choice((0.003, 0.006, self.draw.uniform(0.0, 1.0))), kind, host)
        elif KEYS.heartbeat in keys and self.world.clock.now < self._slow_until and self.draw.random() < 0.5:
            self._cut_off_host(host)

    def _end_grant(self, key: bytes) -> None:
        """An operator ends a grant by force: its owner cannot know at once."""
        token = int(key[len(JOB_KEYS.grant) :])
        if token in self.cluster.history.grants and not self._peace:
            self.world.count("grant_ended")
            self.cluster.history.forced.add(token)
            self.world.apply(Delete(key))

    def _isolate_member(self) -> None:
        """The member of etcd that a node talks to is cut off from the others: it goes on answering keepalives."""
        host = self._a_node().host
        self._note("member_isolated", host)
        self._hollow.add(host.name)
        host.deaf = True
        self.world.after(self.draw.choice((2.0, 6.0)), self._rejoin, host)

    def _rejoin(self, host: Host) -> None:
        self._hollow.discard(host.name)
        self._reach_again(host)

    def _compact(self) -> None:
        self.world.compact()

    def _resign(self) -> None:
        node = self._a_node()
        if node.up:
            self._note("resign", node.host)
            node.host.do(node.resign)

    def _stop(self) -> None:
        node = self._a_node()
        if node.up:
            self._note("stop", node.host)
            node.host.do(node.stop)
            self.world.after(8.0, self._start_stopped, node, node.host.life)

    def _transfer(self) -> None:
        """An operator wants the lead to be handed over: to anybody, or to one that may not be there."""
        history, world = self.cluster.history, self.world
        if history.holder:
            world.count("transfer")
            to = self.draw.choice(("", "", "n1", "n2", "n3", "n4"))
            wish = TransferRecord(Stage.WISHED, history.holder, f"{self.draw.getrandbits(32):x}", to, "operator")
            world.apply(Put(KEYS.transfer, wish.to_value()))

    def _step_down(self) -> None:
        """An operator wants the term to be given away, to whoever can take it, or else back."""
        history, world = self.cluster.history, self.world
        if history.holder:
            world.count("step_down")
            wish = TransferRecord(
                Stage.WISHED, history.holder, f"{self.draw.getrandbits(32):x}", by="operator", steps_down=True
            )
            world.apply(Put(KEYS.transfer, wish.to_value()))

    def _order(self) -> None:
        """An operator freezes the election, pins or blocks a node, wants a version; and takes it back after a while."""
        node_id = self.draw.choice(("n1", "n2", "n3", "n4"))
        kind, change, undo = self.draw.choice(
            (
                ("freeze", lambda now: now.freeze(_OPERATOR), OperatorRecord.unfreeze),
                ("pin", lambda now: now.pin(node_id, _OPERATOR), OperatorRecord.unpin),
                ("block", lambda now: now.block(node_id, _OPERATOR), lambda now: now.unblock(node_id)),
                ("version", lambda now: _want(now, "2"), lambda now: _want(now, "")),
            )
        )
        self.world.count(kind)
        self._give_order(change)
        self.world.after(self.draw.choice((0.5, 2.0, 5.0)), self._give_order, undo)

    def _give_order(self, change: Callable[[OperatorRecord], OperatorRecord], *more: Delete) -> None:
        found = self.world.apply(Get(KEYS.operator)).kvs
        orders = change(read_operator(found[0] if found else None)[0])
        self.world.apply(Txn(success=(Put(KEYS.operator, orders.to_value()), *more)))

    def _force(self) -> None:
        """An operator ends the term by force, and says who goes first; its leader cannot know at once."""
        history = self.cluster.history
        found = self.world.apply(Get(KEYS.leader)).kvs
        if not found:
            return
        self.world.count("forced")
        history.forced.add(found[0].mod_revision)
        record = LeaderRecord.from_value(KEYS.leader, found[0].value)
        forced = Forced(record.epoch, self.draw.choice(("", "n1", "n2")), record.session, _OPERATOR)
        self._give_order(lambda now: now.force(forced), Delete(KEYS.leader))

    def _make_unfit(self) -> None:
        """A health check of a node fails for a while."""
        node = self._a_node()
        if node.up:
            self._note("unfit", node.host)
            node.host.do(node.be_fit, "it is ill")
            node.later(self.draw.choice((0.5, 3.0, 8.0)), node.be_fit, "")

    def _start_stopped(self, node: SimNode, life: int) -> None:
        if node.host.life == life:
            node.crash()
            node.restart()

    def _any_host(self) -> Host:
        if self.draw.random() < 0.15:
            return self.draw.choice(self.cluster.submitters).host
        return self._a_node().host

    def _note(self, kind: str, host: Host) -> None:
        self.world.count(kind)

    # ------------------------------------------------------------ peace

    def make_peace(self) -> None:
        """From here on nothing goes wrong any more; what is under way still arrives."""
        self._peace = True
        self._slow_until = self._full_until = 0.0
        self._hollow.clear()
        history = self.cluster.history
        history.peace_at = self.world.clock.now
        self._give_order(lambda _: OperatorRecord())
        for node in self.cluster.nodes:
            self._resume(node.host, node.host.life)
            self._reach_again(node.host)
            if node.stopped:
                node.crash()
            node.restart()
        for submitter in self.cluster.submitters:
            self._resume(submitter.host, submitter.host.life)
            self._reach_again(submitter.host)
            submitter.restart()
        if any(node.leads for node in self.cluster.nodes):
            history.note_leader(history.peace_at)

    # ------------------------------------------------------------ calls and watches

    def _fate(self, host: Host, request: Request[Any]) -> Fate:
        net = self._net
        if self._peace:
            return fine(0.001, 0.001)
        if host.name in self._hollow:
            return self._hollow_fate(request)
        if self.world.clock.now < self._full_until and takes_space(request):
            return full(written=net.random() < 0.2)
        if _hands_over(request) and net.random() < 0.2:
            return late(net.choice((1.0, 2.0, 6.0)))  # long after it was given up, if it were
        if net.random() < _chance_of_harm(request):
            return self._bad_fate(net)
        if self.world.clock.now >= self._slow_until:
            return fine(net.uniform(0.0002, 0.004), net.uniform(0.0002, 0.004))
        to_store_s = net.choice((0.01, 0.01, net.uniform(0.0, 0.6)))
        return fine(to_store_s, net.uniform(0.1, 0.6))

    def _hollow_fate(self, request: Request[Any]) -> Fate:
        if not isinstance(request, KeepAlive):
            return request_lost()
        header = Header(1, 2, self.world.state.revision, 1)
        return Fate("hollow", None, 0.002, KeepAliveResult(header, request.lease_id, ELECTION.lease_ttl_s))

    def _bad_fate(self, net: random.Random) -> Fate:
        kind = net.randrange(6)
        if kind == 0:
            return request_lost()
        if kind == 1:
            return answer_lost()
        if kind == 2:
            return connection_refused()
        if kind == 3:
            return failed(StoreBusyError())
        return late(net.choice((0.1, 0.5, 2.0, 6.0, 12.0)))

    def _watch_delay_s(self) -> float:
        if self._peace:
            return 0.002
        return self._net.choice((0.001, 0.002, 0.005, 0.02)) if self._net.random() < 0.97 else 0.5


def _want(now: OperatorRecord, version: str) -> OperatorRecord:
    return now.require_version(version, _OPERATOR)


def _hands_over(request: Request[Any]) -> bool:
    return isinstance(request, Txn) and any(
        isinstance(step, Delete) and step.key == KEYS.ack for step in request.success
    )


def _chance_of_harm(request: Request[Any]) -> float:
    """Where a lost or late answer hurts most, it happens most."""
    if not isinstance(request, Txn):
        return 0.03
    return 0.25 if any(getattr(step, "key", b"") == KEYS.leader for step in request.success) else 0.06
