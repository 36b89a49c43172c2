"""How long one attempt at a write may take, when the very same write is sent again until it is answered.

Not as long as its deadline: a follower of etcd that has not noticed yet that its leader is gone takes a write, passes
it on to nobody, and says nothing to it for ever. The next leader is there after one or two seconds, but who waits for
an answer hears of it at the deadline. A member that stands still is as silent.

Not always short either: a store that is merely slow would be given everything twice, and be slower for it. So attempts
last the longer, the longer the write has waited; and after slow answers all of them do, the first ones too.

An attempt that was not answered is unknown, no more: the same write again is what A2 asks for.
"""

from __future__ import annotations

_SHORTEST_S = 0.5
"""Far above what a healthy etcd takes for a write, of another continent too; a few of it fit into one election."""
_OF_WAITED = 1 / 3
_TIMES_SLOWEST = 4
_FADING = 0.9
"""What is left, after each answer, of the slowest one: after twenty quick ones, one of a second is forgotten."""


class Patience:
    """How long to wait for an answer, given how long answers took so far.

    Args:
        most_s: The longest attempt in seconds, whatever else is said.
    """

    __slots__ = ("_most_s", "_slowest_s")

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._slowest_s = 0.0

    def attempt_s(self, waited_s: float = 0.0) -> float:
        """Deadline of an attempt, in seconds, at what was sent first `waited_s` ago."""
        return min(self._most_s, max(_SHORTEST_S, waited_s * _OF_WAITED, self._slowest_s * _TIMES_SLOWEST))

    def answered(self, took_s: float) -> None:
        """An attempt was answered, after so many seconds."""
        self._slowest_s = max(took_s, self._slowest_s * _FADING)
