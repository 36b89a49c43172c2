"""Settings are read here from a world that holds nothing but what a test puts into it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from slurp_leader.errors import ConfigurationError
from slurp_leader.settings import SlurpSettings


@pytest.fixture(autouse=True)
def empty_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variables of ours, an empty home, an empty working directory, which is returned."""
    for variable in list(os.environ):
        if variable.upper().startswith(("SLURP_", "BZZZ_", "XDG_", "OTEL_")):
            monkeypatch.delenv(variable)
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def secrets_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv("SLURP_SECRETS_DIR", str(folder))
    return folder


@pytest.fixture
def refusal_of() -> Callable[..., ConfigurationError]:
    """Load settings that have to be refused, and return the refusal."""

    def load(path: Path | None = None, **sections: object) -> ConfigurationError:
        with pytest.raises(ConfigurationError) as caught:
            SlurpSettings.load(path, **sections)
        return caught.value

    return load
