"""A worker process, seen from within: bodies on its main thread, one after the other; a second thread listens.

It is a program of its own, started anew (`slurp_leader.jobs.executors.processes`): nothing of the parent is forked. It
ends, with all that its bodies have started, when its parent is gone.
"""

from __future__ import annotations

import logging
import multiprocessing.spawn
import os
import pickle
import queue
import signal
import sys
import threading
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection

from slurp_leader.clock import SystemClock
from slurp_leader.jobs.context import JobContext
from slurp_leader.jobs.executors.body import Body, perform
from slurp_leader.jobs.executors.measuring import ProcessUse
from slurp_leader.jobs.executors.wire import Begun, Do, Done, FromWorker, Logged, Prepare, Ready, Stop, Unloadable

_LOOK_EVERY_S = 1.0
"""How often it looks whether its parent lives: forked children of the parent may hold the other end of the way open."""


def main() -> None:
    """What the parent has started. Arguments: the parent's process id, then the descriptor of the way to it."""
    parent, way = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(way, False)  # else what bodies start would hold it open
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who presses Ctrl-C stops the parent, in order
    line = _Line(Connection(way), parent)
    prepare = line.read()
    assert isinstance(prepare, Prepare)
    try:
        multiprocessing.spawn.prepare(prepare.parent)
        body = pickle.loads(prepare.body)
    except BaseException as error:
        line.say(Unloadable(f"{type(error).__name__}: {error}"))
        return
    _Worker(line, body).serve()


class _Line:
    """The way to the parent. Both directions; the end of it is the end of this process."""

    def __init__(self, way: Connection, parent: int) -> None:
        self._way = way
        self._parent = parent
        self._pid = os.getpid()
        self._lock = threading.Lock()  # held while writing

    def say(self, message: FromWorker) -> None:
        """Tell the parent. What a body has forked says nothing: its words would stand in the middle of others."""
        if os.getpid() != self._pid:
            return
        try:
            with self._lock:
                self._way.send(message)
        except OSError:
            end_all()

    def read(self) -> Prepare | Do | Stop:
        try:
            while not self._way.poll(_LOOK_EVERY_S):
                if os.getppid() != self._parent:
                    end_all()
            message: Prepare | Do | Stop = self._way.recv()
        except (EOFError, OSError):
            end_all()
            raise
        return message


def end_all() -> None:
    """Nobody is there any more: end, with all of this process's group."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


class _Worker:
    def __init__(self, line: _Line, body: Body) -> None:
        self._line = line
        self._body = body
        self._todo: queue.SimpleQueue[Do] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards all below
        self._context: JobContext | None = None
        self._run_id = 0

    def serve(self) -> None:
        _send_logs(self._line)
        threading.Thread(target=self._listen, name="slurp-job-line", daemon=True).start()
        self._line.say(Ready())
        while True:
            self._do(self._todo.get())

    def _do(self, do: Do) -> None:
        logging.getLogger("slurp_leader.jobs").setLevel(do.log_level)
        context = self._context
        assert context is not None
        context._begin()
        self._line.say(Begun(do.facts.run_id))
        measured = ProcessUse()
        report = perform(self._body, do.spec, context)
        use = measured.taken()
        with self._lock:
            self._context = None
        self._line.say(Done(do.facts.run_id, report, use))

    def _listen(self) -> None:
        while True:
            match self._line.read():
                case Do() as do:
                    with self._lock:
                        self._context, self._run_id = (
                            JobContext(do.facts, SystemClock(), self._line.say),
                            do.facts.run_id,
                        )
                    self._todo.put(do)
                case Stop(run_id, reason):
                    with self._lock:
                        context = self._context if self._run_id == run_id else None
                    if context is not None:
                        context._tell_to_stop(reason)
                case Prepare():
                    pass  # read before


class _Sender(QueueHandler):
    """Sends log entries to the parent, which has the handlers."""

    def __init__(self, line: _Line) -> None:
        super().__init__(queue.SimpleQueue())
        self._line = line

    def enqueue(self, record: logging.LogRecord) -> None:
        self._line.say(Logged(record))


def _send_logs(line: _Line) -> None:
    logger = logging.getLogger("slurp_leader.jobs")
    logger.addHandler(_Sender(line))
    logger.propagate = False  # what a generator sets up for itself would print it once more
