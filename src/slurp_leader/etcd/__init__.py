"""etcd behind the `Store` Protocol: the only package that imports etcd3 and gRPC.

How a request travels: `store` (the face) -> `calls` (fail over, log in, check, resolve) -> `members` (one channel each)
-> etcd. `codec` and `errors` translate at the border. A watch has a thread (`watch`) and one `stream` after another.
`login` and `identity` are shared by both. `maintenance` is the operator's side. `bridge` makes etcd3 load beside a
current protobuf, `local` runs a real etcd for development and tests.

Writes are sent once; reads that get no answer are asked of the next member within their deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurp_leader.etcd.options import EtcdOptions

if TYPE_CHECKING:
    from slurp_leader.etcd.store import EtcdStore

__all__ = ["EtcdOptions", "EtcdStore"]


def __getattr__(name: str) -> Any:
    # gRPC takes longer to import than all the rest; who only reads settings does not wait for it.
    if name == "EtcdStore":
        from slurp_leader.etcd.store import EtcdStore

        return EtcdStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
