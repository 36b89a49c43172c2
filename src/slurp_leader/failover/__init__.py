"""What a leader leaves to its successor, and whether the successor found just that.

::

    old leader                                        successor
    seen at revision R: counts, hash, settings        wins by the handover, claims and runs jobs at once
      -> manifest, in the handover's transaction  ->    later, aside: reads the same keys as they were at R
                                                        -> verified | mismatch (which) | unverifiable (why)

It decides nothing: safety rests on the transactions, and a takeover waits for nobody's check. What it finds is a bug
of ours, or somebody's hand in etcd, and it is said aloud: a log entry, a metric, `status`, and a record beside the
manifest.

`manifest` is the value, `verification` compares (both pure), `keeping` reads and writes the records, `failover` is
what a node has of it. What is *done* at a takeover (requeue orphans, honour grants, park what cannot be read) is
planned in `slurp_leader.jobs.recovery`: it needs nothing of this, and jobs know nothing of manifests. Why it is built
like that: ``NOTES.md``.
"""

from slurp_leader.failover.failover import Failover
from slurp_leader.failover.manifest import FailoverKeys, Manifest, ManifestReason
from slurp_leader.failover.verification import Verdict, Verification

__all__ = ["Failover", "FailoverKeys", "Manifest", "ManifestReason", "Verdict", "Verification"]
