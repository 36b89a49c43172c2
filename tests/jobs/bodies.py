"""Bodies that are found by name in worker processes. They tell what they do in files, under the payload's folder."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from slurp_leader.errors import RetryAfterError, TerminalError
from slurp_leader.jobs.context import JobContext
from slurp_leader.jobs.records import Spec

_WAITS = "import sys, signal; signal.pause()"


def work(spec: Spec, job: JobContext) -> Any:
    """What the payload says under `do`."""
    return _BODIES[spec.payload["do"]](Path(spec.payload["folder"]), spec.payload, job)


async def work_async(spec: Spec, job: JobContext) -> Any:
    folder = Path(spec.payload["folder"])
    tell(folder, "begun", os.getpid())
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        tell(folder, "cancelled", os.getpid())
        raise


def tell(folder: Path, name: str, *words: object) -> None:
    """Write a file whole, so that whoever sees it can read it."""
    draft = folder / f".{name}.{os.getpid()}"
    draft.write_text(" ".join(map(str, words)))
    draft.rename(folder / name)


def _echo(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    return {"n": payload.get("n"), "pid": os.getpid(), "attempt": job.attempt, "token": job.token, "id": job.id}


def _wait(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    """Until told to stop, as it should."""
    tell(folder, "begun", os.getpid())
    while not job.wait(3600):
        pass
    tell(folder, "told", job._reason)
    job.check()


def _deaf(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    """Never looks, and does not mind a SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(folder, "begun", os.getpid())
    threading.Event().wait()


def _chatter(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    """Tells without end, and never looks."""
    tell(folder, "begun", os.getpid())
    while True:
        job.progress(0.5, "x" * 400)


_LEFT: list[bytes] = []


def _leave(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    """Keeps memory beyond its end."""
    _LEFT.append(b"x" * payload["bytes"])
    return os.getpid()


def _stand_still(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    tell(folder, "begun", os.getpid())
    os.kill(os.getpid(), signal.SIGSTOP)


def _family(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    """Starts a child, and one that has left the group; then waits for ever."""
    child = subprocess.Popen([sys.executable, "-c", _WAITS])
    apart = subprocess.Popen([sys.executable, "-c", _WAITS], start_new_session=True)
    tell(folder, "begun", os.getpid(), child.pid, apart.pid)
    threading.Event().wait()


def _exit(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    os._exit(3)


def _exit_once(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    if job.run == 1:
        os._exit(3)
    return "again"


def _crash(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    ctypes.string_at(0)


def _die_once(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    job.checkpoint({"attempt": job.attempt})
    if job.attempt == 1:
        os._exit(3)
    return job.restored


def _grow(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    tell(folder, "begun", os.getpid())
    taken = b"x" * payload["bytes"]
    while taken:
        threading.Event().wait()


def _step(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    """All that a body may tell and ask."""
    job.progress(0.5, "half")
    job.log.warning("said in a worker")
    before = job.remaining_s
    added = job.extend(60)
    job.checkpoint({"at": job.attempt})
    if job.attempt == 1:
        raise ValueError("not yet")
    return {"restored": job.restored, "added": added, "longer": job.remaining_s - before}


def _terminal(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    raise TerminalError("never", code="gone")


def _later(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    raise RetryAfterError("later", delay_s=timedelta(hours=1))


def _raise(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    class Odd(Exception):  # noqa: N818 - it cannot be pickled, which is the point
        pass

    raise Odd("of a kind that nobody else knows")


def _take(folder: Path, payload: dict[str, Any], job: JobContext) -> Any:
    """Take memory, and processor time here and in a child; tell what was taken by its own measure."""
    held = bytearray(payload["bytes"])
    held[::4096] = b"x" * len(held[::4096])
    child = "import time\nwhile time.process_time() < 0.05: pass"
    if payload["child"]:
        subprocess.run([sys.executable, "-S", "-c", child], check=True)
    return {"held": len(held)}


_BODIES = {
    "take": _take,
    "echo": _echo,
    "wait": _wait,
    "deaf": _deaf,
    "chatter": _chatter,
    "leave": _leave,
    "stand_still": _stand_still,
    "family": _family,
    "exit": _exit,
    "exit_once": _exit_once,
    "crash": _crash,
    "die_once": _die_once,
    "grow": _grow,
    "step": _step,
    "terminal": _terminal,
    "later": _later,
    "raise": _raise,
}
