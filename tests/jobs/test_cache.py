"""The result cache: what it keeps, how much, and for how long."""

from __future__ import annotations

import pickle
import threading
from datetime import datetime

import pytest

from slurp_leader.errors import ConfigurationError
from slurp_leader.jobs.cache import OVERHEAD, ResultCache

SIZE = OVERHEAD + 1 + 10
"""Bytes of an entry with a key of one letter and a result of ten."""
RESULT = b'"12345678"'


class Hand:
    """A clock that is moved by hand, and whose calendar must not be looked at."""

    def __init__(self) -> None:
        self.now = 1000.0

    def boottime(self) -> float:
        return self.now

    def utcnow(self) -> datetime:
        raise AssertionError("the wall clock was read")


def cache_of(entries: int = 3, age_s: float = 60.0, clock: Hand | None = None) -> ResultCache:
    return ResultCache(entries * SIZE, age_s, clock or Hand())


def held(cache: ResultCache, names: bytes = b"abcdefgh") -> bytes:
    return bytes(name for name in names if cache.get(bytes([name])) is not None)


def test_a_result_is_given_again_under_its_key_alone() -> None:
    cache = cache_of()
    assert cache.get(b"a") is None
    cache.put(b"a", RESULT)
    assert cache.get(b"a") == RESULT
    assert cache.get(b"b") is None
    figures = cache.figures()
    assert (figures.hits, figures.misses, figures.entries, figures.size) == (1, 2, 1, SIZE)
    assert figures.to_fields()["bytes_limit"] == 3 * SIZE


def test_the_one_that_was_not_asked_for_the_longest_gives_way() -> None:
    cache = cache_of(3)
    for name in (b"a", b"b", b"c"):
        cache.put(name, RESULT)
    cache.get(b"a")
    cache.put(b"d", RESULT)
    assert cache.figures().size == 3 * SIZE
    assert held(cache) == b"acd"


def test_a_large_result_pushes_out_as_many_as_it_takes() -> None:
    cache = cache_of(3)
    for name in (b"a", b"b", b"c"):
        cache.put(name, RESULT)
    cache.put(b"d", bytes(SIZE + 10))
    assert cache.figures().size == 3 * SIZE
    assert held(cache) == b"cd"


def test_keys_and_overhead_count_too() -> None:
    cache = ResultCache(2 * (OVERHEAD + 32), 60, Hand())
    for number in range(5):
        cache.put(bytes([number]) * 32, b"")
    assert cache.figures().entries == 2


def test_a_result_larger_than_all_room_is_not_kept_and_pushes_nothing_out() -> None:
    cache = cache_of(2)
    cache.put(b"a", RESULT)
    cache.put(b"b", bytes(2 * SIZE))
    assert held(cache) == b"a"
    cache.put(b"a", bytes(2 * SIZE))  # what it was is not the newest any more
    assert (held(cache), cache.figures().size) == (b"", 0)


def test_a_newer_result_takes_the_place_of_the_older() -> None:
    cache = cache_of(2)
    cache.put(b"a", RESULT)
    cache.put(b"a", b"7")
    assert cache.get(b"a") == b"7"
    assert cache.figures().size == SIZE - len(RESULT) + 1


def test_a_result_that_is_too_old_is_not_given_however_often_it_was() -> None:
    clock = Hand()
    cache = cache_of(age_s=60, clock=clock)
    cache.put(b"a", RESULT)
    clock.now += 59.9
    assert cache.get(b"a") == RESULT
    clock.now += 0.1
    assert cache.get(b"a") is None
    assert cache.figures().entries == cache.figures().size == 0
    cache.put(b"a", RESULT)
    assert cache.get(b"a") == RESULT


def test_many_threads_at_once_leave_it_within_its_size() -> None:
    cache = cache_of(5)
    barrier = threading.Barrier(4)
    wrong: list[bytes] = []

    def use(thread: int) -> None:
        barrier.wait()
        for number in range(2000):
            name = (number * 7 + thread) % 11
            key, result = bytes([name]), b"%02d......." % name
            found = cache.get(key)
            if found is not None and found != result:
                wrong.append(found)
            cache.put(key, result)

    threads = [threading.Thread(target=use, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures = cache.figures()
    assert wrong == []
    assert figures.hits + figures.misses == 4 * 2000
    assert figures.entries == 5
    assert figures.size == 5 * (OVERHEAD + 1 + 9)


def test_it_does_not_go_to_another_process() -> None:
    with pytest.raises(ConfigurationError, match=r"jobs\.cache_bytes"):
        pickle.dumps(cache_of())
