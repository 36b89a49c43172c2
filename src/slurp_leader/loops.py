"""Event loops on threads of ours, which many share: what ends one task of a loop does not end the others."""

from __future__ import annotations

import asyncio
import logging
from typing import Any


def run_until(loop: asyncio.AbstractEventLoop, end: asyncio.Future[Any], logger: logging.Logger) -> None:
    """Run a loop on this thread until a future of it is done. Raises nothing: what comes out of the loop is logged.

    asyncio lets `SystemExit` and `KeyboardInterrupt` out of the loop. They ended the task or the callback that raised
    them, and on a thread of ours they would end no program, but everything else on the loop, unseen. Nor is the loop
    stopped by a task that calls its `stop`.
    """
    while not end.done():
        try:
            loop.run_until_complete(end)
        except BaseException:
            logger.exception("a task broke off the loop that it shares with others; the loop goes on")
