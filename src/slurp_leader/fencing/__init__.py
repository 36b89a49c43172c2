"""Fences for what a leader writes to outside etcd: the receiver refuses tokens older than the newest it has seen.

Why the receiver has to do it. Every check on the leader's own side is over before the write arrives: a process may be
stopped for a minute between `term.check` and the write behind it, and wakes up to finish it. In etcd the fence stands
in the transaction. Anywhere else the receiver has to remember the newest token, and to compare.

::

    leader, stopped --------------------------- wakes, writes with token 7 --> refused: 9 was seen
               successor, token 9 --- writes --> kept as the newest

**The rule** (`FenceGate.admit`). For each *resource* the newest token is kept. An equal or newer one is let through and
kept, an older one is refused with `StaleTokenError`. A resource is whatever must not be written by two leaders at once:
an account, a file, a report. Tokens are kept for each resource apart, because a job that a handover lets run on under
its old claim carries an older token than the new leader's jobs, and is right to finish its own (PROTOCOL A19).

**One kind of token for one resource.** `Term.token` and `JobContext.token` are both revisions of etcd, but a job's is
newer than its term's: a loop that fences with its term would be refused where a job of the same term wrote before.

**What a fence cannot do.** It says nothing of what was let through before: what is under way beside it still lands.
Only where check and write are one step is there no gap: `SqlFence`, in the transaction of the write itself.
After etcd was restored from a backup, revisions and so tokens may go back: receivers refuse everything until they are
told otherwise. That is the safe side; ``etcdutl snapshot restore --bump-revision`` avoids it.

Three gates: `MemoryFence` (one process), `SqlFence` (any DB-API 2.0 connection), `FenceMiddleware` (HTTP, in front of
any ASGI application, over either). `fence_headers` puts a token on an outgoing request.
"""

from slurp_leader.fencing.gate import FenceGate
from slurp_leader.fencing.headers import fence_headers
from slurp_leader.fencing.memory import MemoryFence
from slurp_leader.fencing.middleware import FenceMiddleware
from slurp_leader.fencing.sql import SqlFence

__all__ = ["FenceGate", "FenceMiddleware", "MemoryFence", "SqlFence", "fence_headers"]
