"""``python -m tests.simulation --seed 7 --seeds 100 --verbose``: run seeds, print what went wrong, show a history."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from simulation.planted import PLANTED
from simulation.run import Verdict, simulate


def main() -> int:
    options = _options()
    counts: Counter[str] = Counter()
    broken = 0
    with PLANTED[options.planted].in_place() if options.planted else nullcontext():
        for seed in range(options.seed, options.seed + options.seeds):
            verdict = simulate(seed)
            counts.update(verdict.counts)
            broken += bool(verdict.violations)
            if verdict.violations or options.verbose:
                _show(verdict, options.verbose)
    print(f"{options.seeds} seeds, {broken} with violations")
    for kind, count in sorted(counts.items()):
        print(f"  {kind:32} {count}")
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--verbose", action="store_true", help="show the whole history")
    parser.add_argument("--planted", choices=sorted(PLANTED), help="take one rule out of the code first")
    return parser.parse_args()


def _show(verdict: Verdict, verbose: bool) -> None:
    history = verdict.history
    print(f"seed {verdict.seed}: {history.digest()}, {len(history.world.log)} revisions, at rest {history.settled_at}")
    for violation in verdict.violations:
        print(f"  {violation}")
    if not verbose:
        return
    lines = [
        (at, f"{node}: {state} ({reason}), token {token}") for at, node, state, reason, token in history.state_changes
    ]
    lines += [(body.at, f"{body.node}: body of {body.job_id} run {body.run}") for body in history.bodies]
    for write in history.world.log:
        keys = ", ".join(f"{event.kind.value} {event.kv.key.decode()}" for event in write.events)
        lines.append((write.at, f"{write.author or '-'}: revision {write.revision}: {keys}"))
    for at, line in sorted(lines):
        print(f"  {at:10.3f} {line}")


if __name__ == "__main__":
    sys.exit(main())
