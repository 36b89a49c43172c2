"""A report that is made now and then on one node only, whoever that is: no queue, no cron daemon.

Start it twice: one of them makes all reports. End that one, and the other goes on in step: the last run is kept in
etcd, so a change of the leader neither skips a report nor makes one twice. It needs an etcd (``slurp etcd dev``).
"""

import asyncio
import os
import threading

from slurp_leader import LeaderElection, SlurpLeaderError, Term

REPORTS = int(os.environ.get("REPORTS", "2"))
election = LeaderElection("periodic-report")
made: list[int] = []
enough = threading.Event()


@election.every(1)  # seconds; at once when there never was a run
async def report(term: Term) -> None:
    await asyncio.sleep(0)  # is cancelled when the term is lost
    made.append(term.token)
    print(f"report {len(made)} by {term.node_id}, epoch {term.epoch}", flush=True)
    if len(made) >= REPORTS:
        enough.set()


@election.cron("30 2 * * mon-fri", timezone="Europe/Berlin")
def nightly() -> None:
    print("the nightly report")


@election.leader_only
def publish() -> str:
    return f"published {len(made)} reports"  # elsewhere: NotLeaderError


def main() -> None:
    with election:
        election.wait_for_leader(timeout=10)  # nobody within this time: etcd is not there
        enough.wait()
        print(publish())


if __name__ == "__main__":
    try:
        main()
    except SlurpLeaderError as error:
        raise SystemExit(f"periodic_report: {error}; is etcd running? check SLURP_ETCD__ENDPOINTS") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
