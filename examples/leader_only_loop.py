"""Something that must happen on one node only, without any queue: a loop that only the leader runs.

Start it twice: the second one waits. End the first one with Ctrl-C, or kill it with ``kill -9``, and the second goes on
at once: a crash guard gives the lease back. In a container it has to be process 1: ``slurp guard -- python
leader_only_loop.py``. It needs an etcd (``slurp etcd dev``), and no generator.
"""

import os

from slurp_leader import LeaderElection, SlurpLeaderError, Term

ROUNDS = int(os.environ.get("ROUNDS", "3"))
PAUSE_S = 0.2


def report(term: Term) -> int:
    """Runs while this process leads. Whoever takes its output can refuse a smaller token than one seen before."""
    rounds = 0
    while rounds < ROUNDS and not term.wait(PAUSE_S):  # ends when the term is over, or is to be given back
        rounds += 1
        term.check()  # once more, right before what must not happen twice
        print(f"round {rounds} of {term.node_id}, epoch {term.epoch}, token {term.token}", flush=True)
    return rounds


def main() -> None:
    with LeaderElection("reports") as election:
        election.wait_for_leader(timeout=10)  # nobody within this time: etcd is not there
        print(f"{election.run(report)} rounds, and the term is given back")


if __name__ == "__main__":
    try:
        main()
    except SlurpLeaderError as error:
        raise SystemExit(f"leader_only_loop: {error}; is etcd running? check SLURP_ETCD__ENDPOINTS") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
