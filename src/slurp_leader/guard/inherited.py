"""What a program finds in its environment when a guard is its parent, or when it is run as the leader's work.

No settings: these tell what the parent has, and mean nothing in a file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

GUARD_SOCKET = "SLURP_GUARD_FD"
"""Number of the socket to the guard (``slurp guard -- CMD``)."""

TOKEN = "SLURP_TOKEN"
"""Fencing token of the term in which a program was started (``slurp lead --name N -- CMD``)."""

EPOCH = "SLURP_EPOCH"
"""The epoch of that term, for people."""


def guard_socket(environ: Mapping[str, str] | None = None) -> int | None:
    """The socket to the guard that is our parent; None when there is none."""
    number = (os.environ if environ is None else environ).get(GUARD_SOCKET, "")
    return int(number) if number.isascii() and number.isdigit() else None
