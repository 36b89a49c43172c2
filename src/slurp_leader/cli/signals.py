"""Signals of a command that goes on until it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType


class Signals:
    """The first SIGINT or SIGTERM sets an event, the second ends the process on the spot."""

    def __init__(self) -> None:
        self.first = threading.Event()
        self.number = 0

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.first.is_set():
            sys.stdout.flush()
            os._exit(128 + number)
        self.number = number
        self.first.set()
