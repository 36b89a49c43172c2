"""What the library needs from a coordination store, as values and two Protocols.

A *request* is a frozen value (`Get`, `Put`, `Delete`, `Txn`, `Grant`, `KeepAlive`, `Revoke`, `Status`) and a *store*
turns it into a response of the matching type::

    store.call(Txn(compares=(mod_revision(key) == 0,), success=(Put(key, b"x"),)), timeout_s=2.0) -> Future[TxnResult]

Because requests are values, the state machines of `election` and `jobs` only *return* them; a thread of the
program, or the simulator, sends them. The rules are etcd's: one revision a write, compares and operations atomic,
at most 128 of each in a transaction, no key written twice in one, 1.5 MiB a request, leases that take their keys with
them, history until compaction.

Who fulfils the Protocols: `slurp_leader.etcd.EtcdStore` and `slurp_leader.store.memory.MemoryStore`. One contract
suite holds both to the same behaviour.

Beside it, `maintenance` is the operator's side: how members are, compaction, defragmentation, alarms.

Keys are bytes and ordered as bytes. `prefix_end(b"a/")` is the end of the range of all keys that begin with it.
"""

from slurp_leader.store.port import Store, Watch, WatchSink
from slurp_leader.store.requests import (
    Compare,
    CompareOp,
    CompareTarget,
    Delete,
    DeleteResult,
    Event,
    EventKind,
    Get,
    GetResult,
    Grant,
    GrantResult,
    Header,
    KeepAlive,
    KeepAliveResult,
    KeyValue,
    Operation,
    Put,
    PutResult,
    Request,
    Revoke,
    RevokeResult,
    Status,
    StatusResult,
    Txn,
    TxnResult,
    WatchCompacted,
    WatchEvents,
    WatchFailed,
    WatchNotice,
    WatchProgress,
    create_revision,
    lease_of,
    mod_revision,
    prefix_end,
    value_of,
    version_of,
)

__all__ = [
    "Compare",
    "CompareOp",
    "CompareTarget",
    "Delete",
    "DeleteResult",
    "Event",
    "EventKind",
    "Get",
    "GetResult",
    "Grant",
    "GrantResult",
    "Header",
    "KeepAlive",
    "KeepAliveResult",
    "KeyValue",
    "Operation",
    "Put",
    "PutResult",
    "Request",
    "Revoke",
    "RevokeResult",
    "Status",
    "StatusResult",
    "Store",
    "Txn",
    "TxnResult",
    "Watch",
    "WatchCompacted",
    "WatchEvents",
    "WatchFailed",
    "WatchNotice",
    "WatchProgress",
    "WatchSink",
    "create_revision",
    "lease_of",
    "mod_revision",
    "prefix_end",
    "value_of",
    "version_of",
]
