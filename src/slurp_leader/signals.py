"""Signals that tell a program to end, heard in whichever thread of it they arrive.

Python runs handlers on the main thread, between two of its steps. A main thread that waits for a lock without limit
takes no step when the kernel hands the signal to another thread, as it may: then nothing is ever heard (seen with the
threads of gRPC 1.66, in 3 of 100 runs). And a handler that sets an `Event` while the main thread is inside of that very
event waits for itself. So the handlers here do nothing. The interpreter writes the number of each signal to a pipe,
from any thread, and a thread of ours reads it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType

_END = b"\0"


class Signals:
    """The first signal sets an event, the second ends the process on the spot. Only for the main thread, one at a time.

    A child process that is forked off meanwhile takes signals as if none of this were there.

    Args:
        numbers: Which ones. What is ignored, as under ``nohup``, stays ignored.
        last_act: Called before the second one ends the process, on a thread of ours: for what would outlive it. Must
            not block for long.
    """

    def __init__(
        self,
        numbers: Iterable[int] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
        last_act: Callable[[], None] = lambda: None,
    ) -> None:
        self.first = threading.Event()
        self.number = 0
        """Of the first one; 0: none came yet, whatever `first` says: others may set that too."""
        self._numbers = tuple(numbers)
        self._last_act = last_act

    def __enter__(self) -> Signals:
        global _heard
        self._pid = os.getpid()
        self._out, self._in = os.pipe()
        os.set_blocking(self._in, False)
        self._thread = threading.Thread(target=self._listen, name="slurp-signals", daemon=True)
        self._thread.start()
        self._wakeup_before = signal.set_wakeup_fd(self._in, warn_on_full_buffer=False)
        heard = [number for number in self._numbers if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, _only_wake) for number in heard}
        _heard = self
        return self

    def __exit__(self, *_: object) -> None:
        global _heard
        if self._pid != os.getpid():
            return
        _heard = None
        self.restore()
        os.write(self._in, _END)
        self._thread.join()
        os.close(self._in)
        os.close(self._out)

    def restore(self) -> None:
        """Take signals as before."""
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _listen(self) -> None:
        while True:
            for number in os.read(self._out, 64):
                if number == _END[0]:
                    return
                if number in self._numbers:
                    self._take(number)

    def _take(self, number: int) -> None:
        if self.number:
            try:
                self._last_act()
            finally:
                os._exit(128 + number)
        self.number = number
        self.first.set()


def _only_wake(number: int, frame: FrameType | None) -> None:
    """That there is a handler at all makes the interpreter write to the pipe."""


_heard: Signals | None = None


def _forget_in_child() -> None:
    """A forked child shares the pipe: what it is told would end its parent, and not itself."""
    global _heard
    if _heard is not None:
        _heard.restore()
        _heard = None


os.register_at_fork(after_in_child=_forget_in_child)
