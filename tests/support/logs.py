"""What the library has said."""

from __future__ import annotations

import pytest


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The names of the library's entries, in order."""
    return [name for record in caplog.records if (name := getattr(record, "slurp_event", ""))]
