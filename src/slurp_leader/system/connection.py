"""How the faces of the library reach the store: from settings, or handed in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from slurp_leader.clock import Clock
from slurp_leader.settings import SlurpSettings
from slurp_leader.store import Status, StatusResult, Store
from slurp_leader.store.port import StoreOutage, TellsOutages

SettingsLike = SlurpSettings | str | Path | None
"""Settings, the path of a settings file, or None: environment and discovered file (see `slurp_leader.settings`)."""

StoreFactory = Callable[[], Store]
"""Makes a store. Called once for the election and once for the jobs, so that job traffic cannot delay a renewal."""


def settings_of(settings: SettingsLike) -> SlurpSettings:
    """The settings meant.

    Raises:
        ConfigurationError: A setting is wrong, or the file is missing; names field and fix.
    """
    return settings if isinstance(settings, SlurpSettings) else SlurpSettings.load(settings)


def etcd_stores(settings: SlurpSettings, clock: Clock) -> StoreFactory:
    """Stores over etcd, each with connections of its own."""
    from slurp_leader.etcd import EtcdStore  # gRPC takes long to import: only who connects waits for it

    return lambda: EtcdStore(settings.etcd, clock=clock)


def ask_status(store: Store, timeout_s: float) -> StatusResult:
    """Ask the store how it is.

    Raises:
        StoreError: It did not answer, or refused; the message says which setting to look at.
    """
    return store.call(Status(), timeout_s).result()


def outage_of(store: Store) -> StoreOutage | None:
    """The outage under way, of a store that can tell."""
    return store.outage if isinstance(store, TellsOutages) else None
