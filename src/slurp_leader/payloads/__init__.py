"""Where results live that are too large for etcd: a folder that all nodes share, or any file system `fsspec` knows.

A payload is bytes under the hash of these bytes, its *reference*. So one reference never stands for two things, a write
can be repeated, and whoever reads knows whether it got what was written. The order of things::

    put            the leader's worker writes the payload                        `PayloadStore.put`
    record         then the outcome is committed, with the reference in it       `slurp_leader.jobs.packing`
    get            whoever reads the outcome fetches, and verifies
    collect        payloads that no record refers to are deleted                 `collection`

Promised: a reference in a record was readable when the record was committed, and is not deleted before the record is.
Not promised: that the store keeps what it took; a payload that is gone or changed is told by a typed error.

One store serves one cluster: what no record of this cluster refers to is deleted after a day. `open_payload_store`
gives each cluster a folder of its own.
"""

from slurp_leader.payloads.folder import FolderPayloadStore
from slurp_leader.payloads.opening import open_payload_store
from slurp_leader.payloads.port import PayloadEntry, PayloadStore, reference_of
from slurp_leader.payloads.remote import FsspecPayloadStore

__all__ = [
    "FolderPayloadStore",
    "FsspecPayloadStore",
    "PayloadEntry",
    "PayloadStore",
    "open_payload_store",
    "reference_of",
]
