"""Results on their way into their record and out of it: inline, compressed, or in the payload store.

The way in lies between the worker and the scheduler: a payload is written before the end of the run is told, and so
before the record that refers to it. If that record is never committed, because the term ended, the payload is an orphan
and is collected.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from slurp_leader.clock import Clock
from slurp_leader.errors import CircuitOpenError, ConfigurationError, PayloadCorruptError
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.joining import joined
from slurp_leader.jobs.messages import RunEnded
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.records import Codec, JobOutcome, Payload, packed_inline
from slurp_leader.payloads import PayloadStore
from slurp_leader.resilience import CircuitBreaker, pause_s
from slurp_leader.telemetry.events import LogEvent, log_event

_logger = logging.getLogger("slurp_leader.jobs")

_TRIES = 3
"""Puts of one result before the run is given up and made again later: a run may be dear, and a put is repeatable."""


def inline_size(result_json: bytes, compress_above: int) -> int:
    """Bytes that a result takes in its record."""
    packed = packed_inline(result_json, compress_above)
    return len(result_json if packed is None else packed)


class ResultPacker:
    """Decides where results are kept, and puts away those that are too large for etcd. Safe to use from any thread.

    It stands between the pool and the scheduler. Ends of runs pass at once, but for those with a large result: each of
    these is packed on a thread of its own, since what tells of it may be an event loop, and a store may hang. They are
    no more than there are places in the pool: a place is taken until the end of its run is told.

    Args:
        store: Where those go; None: nowhere.
        options: The limits.
        post: Takes what passes; must not block.
        clock: For how long `stop` waits.
        circuit: Leaves a store alone that keeps failing; None: one of its own, as by default.
    """

    def __init__(
        self,
        store: PayloadStore | None,
        options: JobsOptions,
        post: Callable[[Any], None],
        clock: Clock,
        circuit: CircuitBreaker | None = None,
    ) -> None:
        self._clock = clock
        self._store = store
        self._circuit = circuit or CircuitBreaker("payloads", clock=clock)
        self._options = options
        self._post = post
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        # Guarded by _lock: threads that pack.
        self._threads: set[threading.Thread] = set()

    def post(self, event: Any) -> None:
        """Pass on what a runner says, a large result once it is packed. Never blocks."""
        if not (isinstance(event, RunEnded) and event.report and self._is_large(event.report)):
            self._post(event)
            return
        # Daemon: a store that hangs must not keep the process from ending.
        thread = threading.Thread(target=self._pack_and_post, args=(event,), name="slurp-packing", daemon=True)
        try:
            with self._lock:  # begun in it: `stop` must not see one that it cannot join yet
                thread.start()
                self._threads.add(thread)
        except RuntimeError as error:  # no more threads, or the interpreter ends: the run has to end all the same
            self._post(replace(event, report=_not_stored(error)))

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Try no failed put again, and wait for those under way. Safe twice. Returns whether all have ended."""
        self._stopping.set()
        with self._lock:
            threads = list(self._threads)
        return joined(threads, timeout_s, self._clock)

    def pack(self, report: RunReport) -> RunReport:
        """What a run came to, with its result where it belongs. Waits for the store.

        Returns:
            The same report, when the result fits into its record. One with a `payload` instead, which is in the store.
            Else that of a run that failed for good: the result is too large; or of one that is to be made again: the
            payload store did not take it.
        """
        options, result = self._options, report.result_json
        if result is None or not self._is_large(report):
            return report
        size = inline_size(result, options.compress_above)
        if size <= options.result_limit:
            return report
        if self._store is None:
            why = (
                f"it takes {size} bytes; jobs.result_limit is {options.result_limit}, and no jobs.payload_store is set"
            )
            return RunReport(RunEnd.TERMINAL, error=too_large_error(why))
        if len(result) > options.payload_limit:
            why = f"it is {len(result)} bytes; jobs.payload_limit is {options.payload_limit}"
            return RunReport(RunEnd.TERMINAL, error=too_large_error(why))
        return self._put_away(self._store, report, result)

    def _is_large(self, report: RunReport) -> bool:
        """Whether the result may be too large for its record: compressed it may fit yet."""
        return report.result_json is not None and len(report.result_json) > self._options.result_limit

    def _pack_and_post(self, event: RunEnded) -> None:
        assert event.report is not None
        try:
            report = self.pack(event.report)
        except Exception as error:  # such as a lack of memory: the run has to end all the same
            report = _not_stored(error)
        self._post(replace(event, report=report))
        with self._lock:
            self._threads.discard(threading.current_thread())

    def _put_away(self, store: PayloadStore, report: RunReport, result: bytes) -> RunReport:
        data, codec = encode(result, self._options.compress_above)
        failures = 0
        while True:
            try:
                reference = self._circuit.call(store.put, data)
            except CircuitOpenError as error:  # it keeps failing: the jobs wait until it is tried again
                return replace(_not_stored(error), retry_after_s=error.retry_after_s)
            except Exception as error:  # a store of the user's may raise anything
                failures += 1
                log_event(_logger, logging.WARNING, LogEvent.PAYLOAD_STORE_FAILED, doing="put", error=str(error))
                if failures == _TRIES or self._stopping.wait(pause_s(failures)):
                    return _not_stored(error)
            else:
                return replace(report, result_json=None, payload=Payload(reference, len(result), len(data), codec))


def _not_stored(error: Exception) -> RunReport:
    message = f"the payload store did not take the result: {error}"
    return RunReport(RunEnd.NOT_STORED, error=error_of("payload_store", message, type=type(error).__name__))


def encode(result_json: bytes, compress_above: int) -> tuple[bytes, Codec]:
    """The bytes of a payload. Compressed where that saves a tenth at least."""
    if len(result_json) > compress_above:
        packed = zlib.compress(result_json, 1)
        if len(packed) <= 0.9 * len(result_json):
            return packed, Codec.ZLIB
    return result_json, Codec.PLAIN


def fetched(outcome: JobOutcome, store: PayloadStore | None) -> JobOutcome:
    """The outcome with its result in it, from wherever that is. Waits for the payload store when it is there.

    Raises:
        ConfigurationError: It is in a payload store, and none is set here.
        PayloadMissingError, PayloadCorruptError: It is not in the store, or not what was put there.
        PayloadStoreError: The store did not answer. It may later.
    """
    payload = outcome.payload
    if payload is None or outcome.result_json is not None:
        return outcome
    if store is None:
        raise ConfigurationError(
            f"jobs.payload_store: is not set here, and the result of job {outcome.job_id} is in the payload store of "
            "its leader: set the same",
            field="jobs.payload_store",
        )
    return replace(outcome, result_json=_decode(payload, store.get(payload.reference)))


def _decode(payload: Payload, data: bytes) -> bytes:
    try:
        plain = _inflate(data, payload.size) if payload.codec is Codec.ZLIB else data
        if len(plain) != payload.size:
            raise ValueError(f"it is {len(plain)} bytes, where its record says {payload.size}")
        from_json(plain)
    except (ValueError, zlib.error) as error:
        reference = payload.reference
        raise PayloadCorruptError(f"payload {reference} is not the result: {error}", reference=reference) from error
    return plain


def _inflate(data: bytes, size: int) -> bytes:
    """Bounded by what the record says: the payload may be forged together with it."""
    inflater = zlib.decompressobj()
    plain = inflater.decompress(data, size + 1)
    if not inflater.eof:
        raise ValueError(f"it is more than the {size} bytes that its record says, or was cut off")
    return plain


def too_large_error(why: str) -> dict[str, Any]:
    """The recorded error of a job whose result cannot be kept."""
    return error_of("result_too_large", f"the result is too large: {why}")
