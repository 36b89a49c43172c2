"""Reading a whole range, page by page, as it was at one revision.

`PageReader` decides what to ask next and does no I/O, so that threads, generators and simulations can drive it;
`read_pages` is the plain way for a thread that may block.
"""

from __future__ import annotations

from collections.abc import Iterator

from slurp_leader.errors import RequestTooLargeError
from slurp_leader.store.port import Store
from slurp_leader.store.requests import Get, GetResult

PAGE_KEYS = 500
"""Keys asked for at a time. Records of the size we write stay far below what gRPC receives in one message."""


class PageReader:
    """What to ask next to read a whole range at one revision.

    Ask `request`, hand its answer to `accept` or its `RequestTooLargeError` to `shrink`, until `done`. Any other error
    leaves the reader as it was: the same request may be asked again.

    Attributes:
        revision: The revision all pages are read at; 0 until the first answer fixes it.
        done: Nothing is left to ask.
    """

    def __init__(
        self,
        key: bytes,
        range_end: bytes | None,
        *,
        page: int = PAGE_KEYS,
        revision: int = 0,
        keys_only: bool = False,
    ) -> None:
        """Start at the beginning.

        Args:
            key: The key, or the start of the range.
            range_end: End of the range, or None for one key.
            page: Most keys to ask for at a time, 1 or more.
            revision: Read as of this revision; 0: as of the first answer.
            keys_only: Leave the values out.
        """
        if page < 1:
            raise ValueError(f"a page needs at least one key, not {page}")
        self.revision = revision
        self.done = False
        self._next_key = key
        self._range_end = range_end
        self._page = page
        self._keys_only = keys_only

    def request(self) -> Get:
        """The next page to ask for."""
        return Get(self._next_key, self._range_end, limit=self._page, revision=self.revision, keys_only=self._keys_only)

    def accept(self, result: GetResult) -> None:
        """Go on after this answer."""
        self.revision = self.revision or result.header.revision
        self.done = not (result.more and result.kvs)
        if not self.done:
            self._next_key = result.kvs[-1].key + b"\x00"  # the smallest key after it

    def shrink(self, error: RequestTooLargeError) -> None:
        """Ask for half as much from here on.

        Raises:
            RequestTooLargeError: `error` itself: a single key is too large already.
        """
        if self._page == 1:
            raise error
        self._page = max(1, self._page // 2)


def read_pages(
    store: Store,
    key: bytes,
    range_end: bytes | None,
    *,
    timeout_s: float,
    page: int = PAGE_KEYS,
    revision: int = 0,
    keys_only: bool = False,
) -> Iterator[GetResult]:
    """Read a whole range at one revision, however large it is. Blocks while it waits for each page.

    Writes that happen in between are not seen: the first page fixes the revision. Pages that turn out too large to
    be received are asked for again in halves.

    Args:
        store: Where to read.
        key: The key, or the start of the range.
        range_end: End of the range, or None for one key.
        timeout_s: Seconds for each page.
        page: Most keys in a page.
        revision: Read as of this revision; 0: as of now.
        keys_only: Leave the values out.

    Yields:
        The pages, in byte order of the keys; at least one, which is empty for an empty range. `header` is the one of
        each answer; `count` is that of the keys from this page on.

    Raises:
        RevisionCompactedError: The revision was compacted away, be it in the middle of reading.
        StoreError: A page could not be read. Pages before it were yielded already.
    """
    reader = PageReader(key, range_end, page=page, revision=revision, keys_only=keys_only)
    while not reader.done:
        try:
            result = store.call(reader.request(), timeout_s).result()
        except RequestTooLargeError as error:
            reader.shrink(error)
            continue
        reader.accept(result)
        yield result
