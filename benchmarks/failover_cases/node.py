"""A process under test: ``python node.py JSON``, driven over its pipes. It ends when its standard input does.

Each line of input is a command; those that ask something are answered with one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from slurp_leader import ContextGenerationRequest, JobContext, LeaderElection, SlurpLeaderSystem, SlurpSettings
from slurp_leader.errors import StoreError
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.store import Put, Txn
from slurp_leader.term import Term

_LOOK_S = 0.0002
_GAP_S = 0.05
"""A pause between two looks that is longer ends a stretch: what lies in it was not seen."""
_EFFECT_EVERY_S = 0.005


class BeliefLog:
    """When `is_leader` was true, seen by asking in a tight loop.

    Each look is timed by the clock *before* it, because the process may be stopped between the answer and a clock after
    it. So what is counted as belief after a moment was asked after that moment for certain.
    """

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self.stretches: list[list[float]] = []
        self.looks = 0
        threading.Thread(target=self._run, name="bench-belief", daemon=True).start()

    def _run(self) -> None:
        last = float("-inf")
        while True:
            before = time.monotonic()
            believes = self._ask()
            after = time.monotonic()
            self.looks += 1
            if not believes:
                last = float("-inf")
            elif before - last > _GAP_S:
                self.stretches.append([before, before])
                last = before
            else:
                self.stretches[-1][1] = last = before
            # The process may have been stopped between the answer and this line; only `before` proves anything.
            if after - before > _GAP_S:
                last = float("-inf")
            time.sleep(_LOOK_S)


class EffectsLoop:
    """A program that keeps its term and goes on writing under its fence, whatever `is_leader` says."""

    def __init__(self, endpoints: list[str], ask: Callable[[], Term | None], prefix: str) -> None:
        self._ask = ask
        self._store = EtcdStore(EtcdOptions(endpoints=endpoints))
        self._prefix = prefix.encode()
        self.tries: dict[int, list[float]] = {}
        self.unanswered = 0
        """By token: when each write was tried."""
        self.accepted: dict[int, int] = {}
        threading.Thread(target=self._run, name="bench-effects", daemon=True).start()

    def _run(self) -> None:
        term: Term | None = None
        number = 0
        while True:
            term = self._ask() or term
            if term is not None:
                number += 1
                self.tries.setdefault(term.token, []).append(time.monotonic())
                write = Put(self._prefix + b"%d" % term.token, b"%d" % number)
                try:
                    if self._store.call(Txn(term.fence(), (write,)), 2).result().succeeded:
                        self.accepted[term.token] = number
                except StoreError:  # an answer that did not come: whether it was accepted, etcd's history tells
                    self.unanswered += 1
            time.sleep(_EFFECT_EVERY_S)


class Work:
    """The generator: what a job does is said in its metadata.

    ``ms``: how long it sleeps. ``not_on``: a node on which it never ends. ``held``: it ends after the command
    ``release`` that comes next.
    """

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._release = threading.Event()
        self.started: list[float] = []

    def __call__(self, request: ContextGenerationRequest, job: JobContext) -> dict[str, bool]:
        self.started.append(time.monotonic())
        wish = request.metadata
        if wish.get("not_on") == self._node_id:
            while not job.should_stop():
                time.sleep(0.05)
        if wish.get("held"):
            release = self._release
            while not release.wait(0.05) and not job.should_stop():
                pass
        if ms := wish.get("ms"):
            time.sleep(float(str(ms)) / 1000)
        return {"ok": True}

    def release(self) -> None:
        """Let end what is held now."""
        release, self._release = self._release, threading.Event()
        release.set()


class NodeProcess:
    """A candidate."""

    def __init__(self, plan: dict[str, Any]) -> None:
        settings = SlurpSettings.model_validate(plan["settings"])
        self._work = Work(settings.node.id)
        self.node: LeaderElection | SlurpLeaderSystem = (
            SlurpLeaderSystem(settings, generator=self._work)
            if plan["kind"] == "system"
            else LeaderElection(None, settings)
        )
        self.node.start()
        watched = plan.get("watched", False)
        self._belief = BeliefLog(lambda: self.node.is_leader) if watched else None
        self._effects = (
            EffectsLoop(plan["settings"]["etcd"]["endpoints"], lambda: self.node.term, plan["effects"])
            if watched
            else None
        )

    def transfer(self) -> dict[str, Any]:
        """Hand over; answers what went wrong."""
        home: Any = self.node.leader if isinstance(self.node, SlurpLeaderSystem) else self.node
        try:
            home.transfer()
        except Exception as error:
            return {"error": repr(error)}
        return {}

    def stop(self) -> dict[str, Any]:
        """Stop in order."""
        return {"clean": self.node.stop()}

    def queue(self) -> dict[str, Any]:
        """How many jobs are in the picture of this node."""
        assert isinstance(self.node, SlurpLeaderSystem)
        return {"jobs": (self.node.status()["queue"] or {}).get("jobs", 0)}

    def release(self) -> dict[str, Any]:
        """Let held jobs end."""
        self._work.release()
        return {}

    def since(self, at: float, token: int) -> dict[str, Any]:
        """What was believed, begun and tried after a moment, by somebody with this token."""
        assert self._belief is not None
        assert self._effects is not None
        ends = [(max(begin, at), end) for begin, end in list(self._belief.stretches) if end > at]
        return {
            "believed_ms": sum(end - begin for begin, end in ends) * 1000,
            "stretches": len(ends),
            "looks": self._belief.looks,
            "started": sum(1 for each in list(self._work.started) if each > at),
            "tries": sum(1 for each in list(self._effects.tries.get(token, ())) if each > at),
            "unanswered": self._effects.unanswered,
        }


class SubmitterProcess:
    """Submits jobs at a steady rate and notes how each went."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._system = SlurpLeaderSystem(SlurpSettings.model_validate(plan["settings"]), candidate=False)
        self._system.start()
        self._every_s = 1 / plan["rate"]
        self._metadata = plan["metadata"]
        self._submits: list[tuple[float, float, str]] = []
        self._going = threading.Event()
        self._sender: threading.Thread | None = None

    def go(self) -> dict[str, Any]:
        """Begin to submit."""
        self._going.set()
        self._sender = threading.Thread(target=self._run, name="bench-submits", daemon=True)
        self._sender.start()
        return {}

    def halt(self) -> dict[str, Any]:
        """Submit no more, and wait for the answers under way."""
        self._going.clear()
        if self._sender is not None:
            self._sender.join()
        failed = [error for _, _, error in self._submits if error]
        waits = [ended - began for began, ended, _ in self._submits]
        return {
            "submits": len(self._submits),
            "failed": failed[:5],
            "failures": len(failed),
            "longest_s": max(waits, default=0.0),
        }

    def resumed(self, at: float) -> dict[str, Any]:
        """When a submit that was begun after a moment first succeeded; None: none did so far."""
        ends = [ended for began, ended, error in list(self._submits) if began > at and not error]
        return {"at": min(ends) if ends else None}

    def _run(self) -> None:
        with ThreadPoolExecutor(64) as pool:
            due = time.monotonic()
            while self._going.is_set():
                pool.submit(self._submit_one)
                due += self._every_s
                time.sleep(max(0.0, due - time.monotonic()))

    def _submit_one(self) -> None:
        began = time.monotonic()
        error = ""
        try:
            self._system.submit("bench.txt", metadata=self._metadata)
        except Exception as problem:
            error = repr(problem)[:200]
        self._submits.append((began, time.monotonic(), error))


def main() -> None:
    """Do as told until the input ends."""
    plan = json.loads(sys.argv[1])
    process: Any = SubmitterProcess(plan) if plan["kind"] == "submitter" else NodeProcess(plan)
    print(json.dumps({"up": True}), flush=True)
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        print(json.dumps(getattr(process, verb)(*arguments)), flush=True)
    os._exit(0)  # whoever drove it is gone or has no use for it: a crash is what the guard is for


if __name__ == "__main__":
    main()
