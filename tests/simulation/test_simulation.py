"""The simulation finds nothing wrong, is what it claims to be, and is the same each time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from simulation.run import simulate

SEEDS = 200
GROUP = 50
"""Seeds in one test: small enough for a busy machine, and for two workers to share."""
ROOT = Path(__file__).resolve().parents[2]

TROUBLES = (
    "pause",
    "crash",
    "crash_submitter",
    "killed_by_job",
    "cut_off_host",
    "cut_off",
    "deaf",
    "slow",
    "store_full",
    "full",
    "full_but_written",
    "compacted",
    "watch_reloaded",
    "resign",
    "stop",
    "transfer",
    "step_down",
    "freeze",
    "pin",
    "block",
    "version",
    "forced",
    "unfit",
    "granted",
    "grant_ended",
    "deposed",
    "blind_succession",
    "member_isolated",
    "hollow",
    "request_lost",
    "answer_lost",
    "late",
    "connection_refused",
    "StoreBusyError",
    "queue_paused",
    "queue_limited",
    "queue_scaled",
)
EFFECTS = (
    "reason:elected",
    "reason:expired",
    "reason:fenced",
    "reason:handover",
    "reason:handing_over",
    "reason:stolen",
    "reason:renewed",
    "reason:resigned",
    "reason:shutdown",
    "reason:store_full",
    "reason:unreachable",
    "submit:created",
    "submit:duplicate",
    "submit:IdempotencyConflictError",
    "cancel:requested",
    "cancel:already_done",
    "outcome:completed",
    "outcome:failed",
    "outcome:cancelled",
    "outcome:poison",
    "circuit:open",
    "circuit:half_open",
    "circuit:closed",
    "run_again_after_failure",
    "run_again_after_crash",
    "pruned",
    "under_a_later_term",
    "replaced",
    "retry:retried",
    "retry:not_ended",
    "tried_again",
    "restored",
    "periodic:begun",
    "periodic:idle",
    "periodic:held_up",
    "periodic:cut_off",
    "periodic:went_on",
)


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_every_promise_is_kept_in_every_seed_and_no_trouble_is_without_effect(first: int) -> None:
    counts: Counter[str] = Counter()
    broken: list[str] = []
    for seed in range(first, first + GROUP):
        verdict = simulate(seed)
        counts.update(verdict.counts)
        broken += [f"seed {seed}: {violation}" for violation in verdict.violations]
    assert not broken, "\n".join([*broken[:20], "again: python -m tests.simulation --verbose --seed <seed>"])
    idle = [kind for kind in (*TROUBLES, *EFFECTS) if not counts[kind]]
    assert not idle, f"without effect in {GROUP} seeds: {idle}"
    assert counts["outcome:completed"] > 9 * GROUP
    assert counts["reason:elected"] > 2 * GROUP


@pytest.mark.parametrize("seed", [1, 7])
def test_the_same_seed_gives_the_same_history(seed: int) -> None:
    assert simulate(seed).history.digest() == simulate(seed).history.digest()


def test_another_seed_gives_another_history() -> None:
    assert simulate(1).history.digest() != simulate(2).history.digest()


def test_a_history_does_not_depend_on_the_process_it_runs_in() -> None:
    """Not on the order of sets, nor on anything else that differs from start to start."""
    shown = [_shown_by_process(3, hash_seed) for hash_seed in ("1", "2")]
    assert shown[0] == shown[1]
    assert simulate(3).history.digest() in shown[0]


def _shown_by_process(seed: int, hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--verbose"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout
