"""A watch that looks after itself: it goes on where it was, whatever happens to its streams.

The watch keeps one number, the next revision wanted. It grows only after a notice has been handed over, and every
new stream starts there: nothing is lost, nothing comes twice. etcd never splits a revision over two answers, unless
it is asked to fragment them, which is not done here.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.errors import StoreChangedError, StoreDeniedError, StoreError, StoreUnavailableError
from slurp_leader.etcd.calls import REQUIRE_LEADER
from slurp_leader.etcd.codec import events_of
from slurp_leader.etcd.errors import translate, translate_cancellation
from slurp_leader.etcd.grpc_runtime import grpc
from slurp_leader.etcd.identity import ClusterIdentity
from slurp_leader.etcd.login import Login
from slurp_leader.etcd.members import Member, Members
from slurp_leader.etcd.options import EtcdOptions
from slurp_leader.etcd.outage import Outage, log
from slurp_leader.etcd.stream import WatchStream
from slurp_leader.resilience import pause_s
from slurp_leader.store.port import WatchSink
from slurp_leader.store.requests import WatchCompacted, WatchEvents, WatchFailed, WatchNotice, WatchProgress
from slurp_leader.telemetry.events import LogEvent, log_event

_ASKED_FOR = -1
"""Watch id in the progress report that was asked for. (0 is the id of a watch.)"""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a watch shares with the other watches and the calls of its store."""

    members: Members
    login: Login | None
    identity: ClusterIdentity
    outage: Outage
    rpc: Any
    options: EtcdOptions
    clock: Clock


class EtcdWatch:
    """One watch and its thread. Fulfils `slurp_leader.store.Watch`.

    Args:
        key: The key, or the start of the range.
        range_end: End of the range, or None for one key.
        start_revision: First revision wanted; 0 for whatever comes next.
        sink: Takes the notices.
        around: What it shares with others.
        on_end: Called when the thread ends.
    """

    def __init__(
        self,
        key: bytes,
        range_end: bytes | None,
        start_revision: int,
        sink: WatchSink,
        around: Surroundings,
        on_end: Callable[[EtcdWatch], None],
    ) -> None:
        self._key = key
        self._range_end = range_end
        self._sink = sink
        self._around = around
        self._on_end = on_end
        self._pid = os.getpid()
        self._delivering = threading.RLock()  # held while the sink runs; guards _cancelled
        self._cancelled = False
        self._stopped = threading.Event()
        self._login_moved = threading.Event()  # a login ended, or the watch was stopped meanwhile
        self._lock = threading.Lock()  # guards _stream and _closing_error
        self._stream: WatchStream | None = None
        self._closing_error: StoreError | None = None
        # Only the watch's own thread uses what follows.
        self._next = start_revision
        self._token: str | None = None  # the one the newest stream was opened with
        self._failures = 0  # since a stream was last opened
        self._denials = 0  # the same, of refusals only
        self._broken_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="slurp-etcd-watch", daemon=True)

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def cancel(self) -> None:
        """End the watch; see `slurp_leader.store.Watch`. Waits for a notice that is being handed over right now, so do
        not call it with a lock held that the sink takes. In a forked child it does nothing: the stream is the parent's.
        """
        if os.getpid() != self._pid:
            return
        self._stop()
        with self._delivering:
            self._cancelled = True
        self._join()

    def close(self, error: StoreError) -> None:
        """End the watch with a `WatchFailed`, because its store is closing."""
        with self._lock:
            self._closing_error = error
        self._stop()
        self._join()

    def _stop(self) -> None:
        with self._lock:
            self._stopped.set()
            stream = self._stream
        self._login_moved.set()
        if stream is not None:
            stream.stop()

    def _join(self) -> None:
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            ending = self._follow()
            if ending is not None:
                self._hand_over(ending)
        except Exception as error:  # the sink raised, or we have a bug: whoever relies on the watch must hear of it
            log_event(log, logging.ERROR, LogEvent.LOOP_FAILED, loop="watch", error=repr(error))
            self._report_failure(error)
        finally:
            self._on_end(self)

    def _report_failure(self, error: Exception) -> None:
        try:
            self._hand_over(WatchFailed(error))
        except Exception as again:
            log_event(log, logging.ERROR, LogEvent.LOOP_FAILED, loop="watch sink", error=repr(again))

    def _follow(self) -> WatchNotice | None:
        """Open streams until the watch ends. Returns its last notice; None when it was cancelled."""
        while not self._stopped.is_set():
            member = self._around.members.in_use()
            try:
                ending = self._one_stream(member)
            except StoreError as error:
                if self._stopped.is_set():
                    break
                if self._is_final(error):
                    return WatchFailed(error)
                self._recover(member, error)
            else:
                if ending is not None:
                    return ending
        with self._lock:
            return WatchFailed(self._closing_error) if self._closing_error is not None else None

    def _one_stream(self, member: Member) -> WatchNotice | None:
        """Follow one stream to its end.

        Returns:
            The last notice of the watch; None when it was stopped.

        Raises:
            StoreError: The stream broke, or could not be opened.
        """
        self._get_token()
        stream = self._new_stream(member)
        if stream is None:
            return None
        failure: StoreError = StoreUnavailableError(f"etcd at {member.endpoint} ended the watch")
        try:
            for message in stream.answers():
                ending = self._take(message, member)
                if ending is not None:
                    return ending
        except grpc.RpcError as error:
            failure = translate(error.code(), error.details(), writes=False, endpoint=member.endpoint)
        finally:
            stream.stop()
        if stream.fell_silent:
            failure = StoreUnavailableError(f"etcd at {member.endpoint} gave no sign of life on a watch")
        raise failure

    def _new_stream(self, member: Member) -> WatchStream | None:
        around, options = self._around, self._around.options
        create = around.rpc.WatchRequest(
            create_request={
                "key": self._key,
                "range_end": self._range_end or b"",
                "start_revision": self._next,
                # Every ten minutes etcd says how far a quiet watch is, so that compaction does not overtake it.
                "progress_notify": True,
            }
        )
        metadata = [REQUIRE_LEADER, *([("token", self._token)] if self._token else [])]
        interval_s, timeout_s = (
            options.watch_probe_interval.total_seconds(),
            options.watch_probe_timeout.total_seconds(),
        )
        stream = WatchStream(member, create, metadata, interval_s, timeout_s, around.clock)
        with self._lock:
            if self._stopped.is_set():
                return None
            self._stream = stream
        return stream

    # ------------------------------------------------------------ what etcd says

    def _take(self, message: Any, member: Member) -> WatchNotice | None:
        """Handle one answer. Returns the last notice of the watch if this ends it."""
        self._around.identity.observe(message.header)
        if message.canceled and message.compact_revision:
            return WatchCompacted(message.compact_revision)
        if message.canceled:
            raise translate_cancellation(message.cancel_reason, endpoint=member.endpoint)
        self._around.outage.answered()
        if message.created:
            self._opened(message, member)
        elif message.events:
            self._changes(message)
        else:
            self._progress(message)
        return None

    def _opened(self, message: Any, member: Member) -> None:
        self._next = self._next or message.header.revision + 1
        if self._broken_at is not None:
            outage_s = round(self._around.clock.boottime() - self._broken_at, 3)
            fields = {"endpoint": member.endpoint, "from_revision": self._next, "outage_s": outage_s}
            log_event(log, logging.INFO, LogEvent.WATCH_RESUMED, **fields)
        self._failures = self._denials = 0
        self._broken_at = None

    def _changes(self, message: Any) -> None:
        events = tuple([event for event in events_of(message) if event.kv.mod_revision >= self._next])
        if events:
            revision = events[-1].kv.mod_revision
            self._hand_over(WatchEvents(revision, events))
            self._next = revision + 1

    def _progress(self, message: Any) -> None:
        # A report that was asked for may overtake changes on their way to us (etcd issue 15220), so its revision proves
        # nothing. Those that etcd sends by itself come in order.
        if message.watch_id != _ASKED_FOR:
            self._next = max(self._next, message.header.revision + 1)
        if self._next:
            self._hand_over(WatchProgress(self._next - 1))

    def _hand_over(self, notice: WatchNotice) -> None:
        with self._delivering:
            if not self._cancelled:
                self._sink(notice)

    # ------------------------------------------------------------ when a stream breaks

    def _is_final(self, error: StoreError) -> bool:
        if isinstance(error, StoreDeniedError):
            # An old etcd says "permission denied" of a token that ran out as well; and one member may have a wrong
            # certificate. So a login, and each other member, get one try.
            self._denials += 1
            others = len(self._around.members) - 1
            return self._denials > max(others, 0 if self._around.login is None else 1)
        return isinstance(error, StoreChangedError) or not error.retryable

    def _recover(self, member: Member, error: StoreError) -> None:
        around = self._around
        if self._broken_at is None:
            self._broken_at = around.clock.boottime()
        if self._failures:
            around.outage.failed(error)
        around.members.leave(member)
        self._failures += 1
        self._stopped.wait(pause_s(self._failures))

    def _get_token(self) -> None:
        """Log in before the first stream, and again after a refusal.

        Raises:
            StoreError: The login failed.
        """
        login = self._around.login
        if login is None:
            return
        if login.token is None or self._denials:
            self._wait_for_login(login)
        self._token = login.token

    def _wait_for_login(self, login: Login) -> None:
        results: list[StoreError | None] = []

        def ended(error: StoreError | None) -> None:
            results.append(error)
            self._login_moved.set()

        around = self._around
        timeout_s = around.options.login_timeout.total_seconds() * len(around.members)
        login.renew(self._token, around.clock.boottime() + timeout_s, ended)
        while not results and not self._stopped.is_set():
            self._login_moved.wait()
            self._login_moved.clear()
        if results and results[0] is not None:
            raise results[0]
