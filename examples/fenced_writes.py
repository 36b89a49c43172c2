"""A database that refuses a leader which is none any more, however late its write arrives.

No check on the leader's side can do that: it is over before the write is there. Here the token of the term goes into
the transaction of the write itself. The example leads twice; what it then writes under its first term is refused.
It needs an etcd (``slurp etcd dev``), and no generator. A service fences its requests with `FenceMiddleware` instead.
"""

import sqlite3
from contextlib import closing

from slurp_leader import LeaderElection, SlurpLeaderError, SqlFence, StaleTokenError, Term

WAIT_S = 30


def write(database: sqlite3.Connection, term: Term, line: str) -> None:
    with database:  # one transaction: the line lands together with the token, or not at all
        SqlFence(database).admit(term.token, "ledger")
        database.execute("INSERT INTO ledger VALUES (?)", (line,))


def main() -> None:
    with closing(sqlite3.connect(":memory:")) as database, LeaderElection("ledger") as election:
        SqlFence(database).create_table()
        database.execute("CREATE TABLE ledger (line TEXT)")
        election.wait_for_leader(timeout=10)  # nobody within this time: etcd is not there

        election.wait_for_leadership(WAIT_S)
        first = election.require_term()
        write(database, first, "of the first term")

        election.resign(pause=0)
        first.lost.wait(WAIT_S)
        election.wait_for_leadership(WAIT_S)
        write(database, election.require_term(), "of the second term")

        try:
            write(database, first, "late, of the first term")  # as after a pause of a minute
        except StaleTokenError as error:
            print(f"refused: {error}")
        for (line,) in database.execute("SELECT line FROM ledger"):
            print(f"kept: {line}")


if __name__ == "__main__":
    try:
        main()
    except SlurpLeaderError as error:
        raise SystemExit(f"fenced_writes: {error}; is etcd running? check SLURP_ETCD__ENDPOINTS") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
