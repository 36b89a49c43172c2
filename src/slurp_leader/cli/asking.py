"""One election, as commands ask about it and give orders to it."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurp_leader.cli.connection import DeadlineStore, reading
from slurp_leader.cli.exits import UsageError, as_typed
from slurp_leader.cli.options import Invocation
from slurp_leader.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurp_leader.election import LeaderInfo, Wish
    from slurp_leader.election.orders import Orders
    from slurp_leader.election.records import ElectionKeys
    from slurp_leader.election.transfer import TransferRecord
    from slurp_leader.settings import SlurpSettings
    from slurp_leader.store import KeyValue
    from slurp_leader.store.keyspace import Keyspace

_MOST_NAMES = 10


@dataclass(frozen=True, slots=True)
class Lead:
    """How the lead stands.

    Attributes:
        leader: Who holds it; None: nobody.
        has_begun: Whether that node leads: its term is proved, and its hooks agree.
        handover: The handover that is under way; None: there is none.
    """

    leader: LeaderInfo | None = None
    has_begun: bool = True
    handover: TransferRecord | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The election of the settings, and a store to ask.

    Attributes:
        by: Who asks or orders, for people.
    """

    call: Invocation
    settings: SlurpSettings
    store: DeadlineStore
    by: str

    @property
    def name(self) -> str:
        """Of the election."""
        return self.settings.election.name

    @property
    def keyspace(self) -> Keyspace:
        from slurp_leader.store.keyspace import Keyspace

        return Keyspace(self.settings.node.cluster_id)

    @property
    def keys(self) -> ElectionKeys:
        from slurp_leader.election.records import ElectionKeys

        return ElectionKeys.of(self.keyspace, self.name)

    def orders(self) -> Orders:
        """Gives orders, and answers questions."""
        from slurp_leader.election.orders import Orders

        rpc_timeout_s = self.settings.election.rpc_timeout_s
        return Orders(self.store, self.keys, self.name, SystemClock(), rpc_timeout_s, self.by, self.call.timeout_s)

    def wish(self) -> Wish:
        """Wishes for a handover, once."""
        from slurp_leader.election import Wish

        rpc_timeout_s = self.settings.election.rpc_timeout_s
        return Wish(self.store, self.keys, self.name, SystemClock(), rpc_timeout_s, self.by)

    def lead(self) -> Lead:
        """Who leads, and whether that is about to change."""
        from slurp_leader.election.records import has_begun, leader_info
        from slurp_leader.election.transfer import under_way
        from slurp_leader.store import Get, Txn

        keys = self.keys
        look = Txn(success=(Get(keys.leader), Get(keys.heartbeat), Get(keys.transfer)))
        reads: Any = self.store.call(look, self.call.timeout_s).result().results
        leader, heartbeat, transfer = (read.kvs[0] if read.kvs else None for read in reads)
        if leader is None:
            return Lead()
        token = leader.mod_revision
        return Lead(leader_info(leader), has_begun(token, heartbeat), under_way(transfer, token))

    def say_who_stands(self, *named: str) -> list[str]:
        """Say on standard error what hints at a wrong name: nobody stands here, or not those that are named.

        Returns:
            Those that are named and do not stand.
        """
        from slurp_leader.election.ranking.candidates import read_candidates

        standing = sorted({each.node_id for each in read_candidates(self._under(self.keys.candidates))})
        if not standing:
            self.call.output().say(f"nobody stands in the election {self.name!r}{self._other_elections()}")
            return list(named)
        names = ", ".join(standing[:_MOST_NAMES])
        more = f" and {len(standing) - _MOST_NAMES} more" if len(standing) > _MOST_NAMES else ""
        missing = [each for each in named if each not in standing]
        for node_id in missing:
            verb = "does" if len(standing) == 1 else "do"
            self.call.output().say(f"{node_id} does not stand now ({names}{more} {verb})")
        return missing

    def _other_elections(self) -> str:
        others = sorted(elections_of(self._under(self.keys.nodes)) - {self.name})
        return f"; there are nodes of: {', '.join(others[:_MOST_NAMES])}" if others else ""

    def _under(self, prefix: bytes) -> Iterator[KeyValue]:
        from slurp_leader.store import prefix_end
        from slurp_leader.store.pages import read_pages

        for page in read_pages(self.store, prefix, prefix_end(prefix), timeout_s=self.call.timeout_s):
            yield from page.kvs


@contextmanager
def asking(call: Invocation, by: str | None = None, settings: SlurpSettings | None = None) -> Iterator[Asked]:
    """Asks about the election of the settings.

    Args:
        call: How it is called.
        by: Who orders it; None: whoever sits there.
        settings: Those that were read already.

    Raises:
        UsageError: `by` is empty; or what is ordered or asked makes no sense.
        ConfigurationError: A setting is wrong.
    """
    if by is not None and not by.strip():
        raise UsageError("--by: say who orders it, or leave it out for user and host")
    settings = settings or call.settings()
    with reading(call, settings) as store:
        asked = Asked(call, settings, store, operator() if by is None else by)
        with as_typed():
            yield asked


def operator() -> str:
    """Who sits there: user and host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as containers have them
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def elections_of(sessions: Iterable[KeyValue]) -> set[str]:
    """The elections that session keys name. What cannot be read names none."""
    from slurp_leader.errors import RecordError
    from slurp_leader.store.records import read_object

    found = set()
    for kv in sessions:
        try:
            election = read_object(kv.key, kv.value).get("election")
        except RecordError:
            continue
        if isinstance(election, str) and election:
            found.add(election)
    return found
