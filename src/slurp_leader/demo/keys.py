"""Single keys from a terminal, without Enter; the terminal is put back as it was."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def listen_to_keys(on_key: Callable[[str], None]) -> Iterator[bool]:
    """Call `on_key`, on another thread, for each key pressed. Yields whether there is a terminal to listen to.

    Ctrl-C goes on to be a signal. When this process is not in the foreground of its terminal, nothing is touched: it
    would be stopped for that.
    """
    descriptor = _terminal()
    if descriptor is None:
        yield False
        return
    before = termios.tcgetattr(descriptor)
    end_read, end_write = os.pipe()
    thread = threading.Thread(target=_read, args=(descriptor, end_read, on_key), name="slurp-demo-keys", daemon=True)
    try:
        tty.setcbreak(descriptor, termios.TCSANOW)
        thread.start()
        yield True
    finally:
        os.close(end_write)  # wakes the reader
        if thread.ident is not None:
            thread.join()
        os.close(end_read)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _terminal() -> int | None:
    try:
        descriptor = sys.stdin.fileno()
        return descriptor if os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp() else None
    except (OSError, ValueError, AttributeError):  # closed, replaced by an object without a descriptor, or not ours
        return None


def _read(descriptor: int, ended: int, on_key: Callable[[str], None]) -> None:
    while True:
        ready, _, _ = select.select([descriptor, ended], [], [])
        if ended in ready:
            return
        try:
            pressed = os.read(descriptor, 16)
        except OSError:  # the terminal is gone
            return
        if not pressed:
            return
        for key in pressed.decode("ascii", "ignore"):
            on_key(key)
