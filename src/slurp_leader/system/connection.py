"""How the faces of the library reach the store: from settings, or handed in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from slurp_leader.clock import Clock
from slurp_leader.election import ElectionKeys
from slurp_leader.election.observing.observer import Sighting
from slurp_leader.election.records import leader_info
from slurp_leader.errors import ConfigurationError
from slurp_leader.settings import SlurpSettings
from slurp_leader.store import Get, GetResult, Status, StatusResult, Store
from slurp_leader.store.follow import Follower, FollowSink
from slurp_leader.store.port import StoreOutage, TellsOutages

SettingsLike = SlurpSettings | str | Path | None
"""Settings, the path of a settings file, or None: environment and discovered file (see `slurp_leader.settings`)."""

StoreFactory = Callable[[], Store]
"""Makes a store. Called once for the election and once for the jobs, so that job traffic cannot delay a renewal."""


class Following(Protocol):
    """A prefix that is being watched, as a `Follower` does."""

    def start(self) -> None:
        """Begin; the first notice is a `Snapshot`."""
        ...

    def stop(self) -> None:
        """End. When this returns, no further notice comes."""
        ...


FollowerFactory = Callable[[Store, bytes, FollowSink], Following]
"""Follows a prefix of a store and hands what it sees to a sink."""

_QUESTION_S = 5.0
"""How long one question about the past may take: nobody's leadership waits for it."""


def settings_of(settings: SettingsLike) -> SlurpSettings:
    """The settings meant.

    Raises:
        ConfigurationError: A setting is wrong, the file is missing, or this is something else; names field and fix.
    """
    if isinstance(settings, SlurpSettings):
        return settings
    if settings is not None and not isinstance(settings, str | Path):
        raise ConfigurationError(
            f"settings: {type(settings).__name__} given; give SlurpSettings(election={{...}}) or the path of a "
            f"settings file, or leave it out",
            field="settings",
        )
    return SlurpSettings.load(settings)


def etcd_stores(settings: SlurpSettings, clock: Clock) -> StoreFactory:
    """Stores over etcd, each with connections of its own."""
    from slurp_leader.etcd import EtcdStore  # gRPC takes long to import: only who connects waits for it

    return lambda: EtcdStore(settings.etcd, clock=clock)


def own_followers(clock: Clock) -> FollowerFactory:
    """Followers with a watch of their own."""
    return lambda store, prefix, sink: Follower(store, prefix, sink, clock=clock)


def ask_status(store: Store, timeout_s: float) -> StatusResult:
    """Ask the store how it is.

    Raises:
        StoreError: It did not answer, or refused; the message says which setting to look at.
    """
    return store.call(Status(), timeout_s).result()


def asker(store: Store) -> Callable[[Get], GetResult]:
    """Asks this store one question, and waits for the answer."""
    return lambda get: store.call(get, _QUESTION_S).result()


def look(store: Store, keys: ElectionKeys, clock: Clock, timeout_s: float) -> Sighting:
    """Ask the store who leads, linearizably.

    Raises:
        StoreError: It did not answer, or refused.
    """
    sent_at = clock.boottime()
    result = store.call(Get(keys.leader), timeout_s).result()
    leader = leader_info(result.kvs[0]) if result.kvs else None
    return Sighting.of(leader, result.header.revision, clock.boottime() - sent_at)


def outage_of(store: Store) -> StoreOutage | None:
    """The outage under way, of a store that can tell."""
    return store.outage if isinstance(store, TellsOutages) else None
