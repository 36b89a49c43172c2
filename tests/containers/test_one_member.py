"""The adapter against a member in a container."""

from __future__ import annotations

from containers.calls import open_store, write_until_accepted
from containers.members import Member
from slurp_leader.store import EventKind, Grant, Put, Revoke, WatchEvents, WatchNotice
from support.calls import Recorder, do, get, new_lease_id


def test_keys_leases_and_watches_work(member: Member) -> None:
    with open_store(member) as store:
        start = write_until_accepted(store, b"/ready")
        notices: Recorder[WatchNotice] = Recorder()
        store.watch(b"/leased", None, start + 1, notices)
        lease = new_lease_id()
        do(store, Grant(lease, 60))
        do(store, Put(b"/leased", b"value", lease))
        written = get(store, b"/leased")
        do(store, Revoke(lease))
        seen = []
        while len(seen) < 2:
            notice = notices.next()
            if isinstance(notice, WatchEvents):
                seen += [event.kind for event in notice.events]
        assert written is not None
        assert written.value == b"value"
        assert seen == [EventKind.PUT, EventKind.DELETE]
        assert get(store, b"/leased") is None
