"""etcd in memory, for tests, simulations, and programs that need no other node.

Two faces of one set of rules:

* `MemoryState`: a plain object, one request at a time, driven by the clock it is given. The simulator's.
* `MemoryStore`: the `Store` Protocol around it, with threads, real time, and faults to order (`Faults`).

`rules` refuses what etcd refuses unseen, `keyspace` holds keys and revisions, `leases` the leases, `space` the quota,
`compare` the conditions; `state` puts them together; `watches` and `store` add the threads, `maintenance` the
operator's side. The contract suite holds all of it to what real etcd does.
"""

from slurp_leader.store.memory.faults import Fault, FaultKind, Faults
from slurp_leader.store.memory.state import MemoryState
from slurp_leader.store.memory.store import MemoryStore

__all__ = ["Fault", "FaultKind", "Faults", "MemoryState", "MemoryStore"]
