"""The members of the cluster, as far as we know them: the endpoints, and which of them is asked first."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from slurp_leader.etcd.bridge import EtcdModules
from slurp_leader.etcd.channels import open_channel
from slurp_leader.etcd.grpc_runtime import grpc
from slurp_leader.etcd.maintenance_requests import (
    AskStatus,
    Compact,
    Defragment,
    Disarm,
    ListAlarms,
    ListLeases,
    ListMembers,
)
from slurp_leader.etcd.options import EtcdOptions
from slurp_leader.store.requests import Delete, Get, Grant, KeepAlive, Put, Revoke, Status, Txn

_WATCH = "/etcdserverpb.Watch/Watch"
_KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
_KNOCK_S = 10.0


class Member:
    """One endpoint: its channel, and what can be called on it.

    Attributes:
        endpoint: ``host:port``, for messages.
        methods: The gRPC method for each type of request.
        authenticate: The gRPC method of the login.
        watch: The gRPC method of the watch. Takes messages, and bytes that are sent as they are.
    """

    def __init__(self, endpoint: str, channel: grpc.Channel, etcd: EtcdModules, *, owns_channel: bool = True) -> None:
        self.endpoint = endpoint
        self._channel = channel
        self._owns_channel = owns_channel
        self._question = etcd.rpc.StatusRequest()
        self._knock: Any = None
        kv, lease = etcd.stubs.KVStub(channel), etcd.stubs.LeaseStub(channel)
        maintenance = etcd.stubs.MaintenanceStub(channel)
        # etcd declares the keepalive as two streams. One question followed by the end of questions is the same on the
        # wire as a plain call; and then the answer cannot belong to an earlier question.
        keep_alive = channel.unary_unary(
            _KEEP_ALIVE,
            request_serializer=etcd.rpc.LeaseKeepAliveRequest.SerializeToString,
            response_deserializer=etcd.rpc.LeaseKeepAliveResponse.FromString,
        )
        self.methods: dict[type, Any] = {
            Get: kv.Range,
            Put: kv.Put,
            Delete: kv.DeleteRange,
            Txn: kv.Txn,
            Grant: lease.LeaseGrant,
            KeepAlive: keep_alive,
            Revoke: lease.LeaseRevoke,
            Status: maintenance.Status,
            AskStatus: maintenance.Status,
            ListMembers: etcd.stubs.ClusterStub(channel).MemberList,
            ListLeases: lease.LeaseLeases,
            ListAlarms: maintenance.Alarm,
            Disarm: maintenance.Alarm,
            Compact: kv.Compact,
            Defragment: maintenance.Defragment,
        }
        self.authenticate = etcd.stubs.AuthStub(channel).Authenticate
        self.watch = channel.stream_stream(
            _WATCH, request_serializer=_serialize, response_deserializer=etcd.rpc.WatchResponse.FromString
        )

    def knock(self) -> None:
        """See to it that a lost connection is made again.

        An older gRPC (seen with 1.66) works on a connection only while a call waits for it. Calls that fail at once are
        not enough, and a member that is back stays out of reach. This one waits, for what every member tells everybody.
        """
        if self._knock is None or self._knock.done():
            try:
                self._knock = self.methods[Status].future(self._question, timeout=_KNOCK_S, wait_for_ready=True)
            except ValueError:  # the channel is closed
                return

    def close(self) -> None:
        """Release the connection, unless it is the host's."""
        if self._knock is not None:
            self._knock.cancel()
        if self._owns_channel:
            self._channel.close()


def _serialize(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


class Members:
    """All members, and the one in use. It stays in use until somebody found it wanting.

    Threads: safe.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = tuple(members)
        self._lock = threading.Lock()  # guards _in_use
        self._in_use = 0

    @classmethod
    def connect(cls, options: EtcdOptions, etcd: EtcdModules) -> Members:
        """Open a channel to every endpoint. Nothing is sent yet."""
        return cls([Member(end.target, open_channel(end, options), etcd) for end in options.members])

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members)

    def in_use(self) -> Member:
        """The member to ask first."""
        return self._members[self._in_use]

    def after(self, member: Member) -> Member:
        """The next one round; the same when it is the only one."""
        return self._members[(self._members.index(member) + 1) % len(self._members)]

    def leave(self, member: Member) -> None:
        """Use the next one from now on, unless another thread has moved on already."""
        member.knock()
        with self._lock:
            if self._members[self._in_use] is member:
                self._in_use = (self._in_use + 1) % len(self._members)

    def close(self) -> None:
        for member in self._members:
            member.close()
