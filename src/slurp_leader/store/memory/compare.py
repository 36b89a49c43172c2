"""The conditions of a transaction."""

from __future__ import annotations

import operator
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from slurp_leader.store.requests import Compare, CompareOp, CompareTarget, KeyValue

_ABSENT = KeyValue(b"", b"", 0, 0, 0)

_FACT: dict[CompareTarget, Callable[[KeyValue], Any]] = {
    CompareTarget.MOD: attrgetter("mod_revision"),
    CompareTarget.CREATE: attrgetter("create_revision"),
    CompareTarget.VERSION: attrgetter("version"),
    CompareTarget.LEASE: attrgetter("lease"),
    CompareTarget.VALUE: attrgetter("value"),
}

_RELATION: dict[CompareOp, Callable[[Any, Any], bool]] = {
    CompareOp.EQUAL: operator.eq,
    CompareOp.NOT_EQUAL: operator.ne,
    CompareOp.LESS: operator.lt,
    CompareOp.GREATER: operator.gt,
}


def holds(compare: Compare, kv: KeyValue | None) -> bool:
    """Whether a key, None when it is absent, meets a condition. An absent key has numbers of 0, but no value."""
    if kv is None and compare.target is CompareTarget.VALUE:
        return False
    return _RELATION[compare.op](_FACT[compare.target](kv or _ABSENT), compare.operand)
