"""One watch stream: from its opening until it breaks, falls silent, or is stopped.

A broken connection ends a stream by itself. A silent one does not: the member may be frozen, cut off, or have nothing
to tell. So after some silence it is asked for a progress report, and a stream that leaves this unanswered is given up.

gRPC takes our side of a stream from an iterator, on a thread of its own, which waits for the next question anyway; the
waiting for silence happens there, without another thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.errors import StoreClosedError
from slurp_leader.etcd.members import Member

_PROGRESS_REQUEST = b"\x1a\x00"
"""A WatchRequest with an empty `progress_request` (etcd 3.4 on), which the protocol file of etcd3 does not know."""


class WatchStream:
    """The two directions of one stream.

    Args:
        member: Whom to ask.
        create: The message that creates the watch; the first question.
        metadata: gRPC metadata, with the token if there is one.
        interval_s: Silence after which a sign of life is asked for.
        timeout_s: How long that may take.
        clock: Where time comes from.
    """

    def __init__(
        self,
        member: Member,
        create: Any,
        metadata: Sequence[tuple[str, str]],
        interval_s: float,
        timeout_s: float,
        clock: Clock,
    ) -> None:
        self._member = member
        self._create = create
        self._metadata = metadata
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._changed = threading.Condition()  # guards all below
        self._rpc: Any = None
        self._stopped = False
        self._silent = False
        self._handling = False  # the reader is busy with an answer: that is no silence
        self._heard_at = clock.boottime()
        self._asked_at: float | None = None

    @property
    def fell_silent(self) -> bool:
        """Whether it was given up because it did not answer."""
        return self._silent

    def answers(self) -> Iterator[Any]:
        """Open the stream and yield etcd's messages. Ends when stopped, or when etcd ends it.

        Raises:
            grpc.RpcError: It broke.
            StoreClosedError: The connection is the host's, and the host closed it.
        """
        try:
            rpc = self._member.watch(self._questions(), metadata=self._metadata)
        except ValueError as error:
            raise StoreClosedError("the connection was closed by its owner") from error
        with self._changed:
            self._rpc = rpc
            stopped = self._stopped
        if stopped:
            rpc.cancel()
        for message in rpc:
            self._set_handling(True)
            yield message
            self._set_handling(False)

    def stop(self) -> None:
        """End it, from any thread. Safe twice."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            rpc = self._rpc
        if rpc is not None:
            rpc.cancel()

    def _set_handling(self, handling: bool) -> None:
        with self._changed:
            self._handling = handling
            self._heard_at = self._clock.boottime()
            self._asked_at = None

    # ------------------------------------------------------------ our side, on a thread of gRPC

    def _questions(self) -> Iterator[Any]:
        yield self._create
        while self._wait_for_silence():
            yield _PROGRESS_REQUEST
        self.stop()

    def _wait_for_silence(self) -> bool:
        """Wait until a sign of life has to be asked for. False: the stream is over."""
        with self._changed:
            while not self._stopped:
                now = self._clock.boottime()
                if self._handling:
                    rest_s = self._interval_s
                elif self._asked_at is None:
                    rest_s = self._heard_at + self._interval_s - now
                    if rest_s <= 0:
                        self._asked_at = now
                        return True
                else:
                    rest_s = self._asked_at + self._timeout_s - now
                    if rest_s <= 0:
                        self._silent = True
                        return False
                self._changed.wait(rest_s)
        return False
