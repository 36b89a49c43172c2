"""What user code may raise, at its worst."""

from __future__ import annotations


class UnprintableError(Exception):
    """Raises when it is to be shown."""

    def __repr__(self) -> str:
        raise ValueError("no")

    __str__ = __repr__
