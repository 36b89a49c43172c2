"""Trying again: how long to wait before it, and for what. One policy for every thread that has lost the store.

Built on `tenacity`. State machines do not use it: they take their pauses from a seeded source of their own, so that
the simulator can repeat a history.
"""

from slurp_leader.resilience.retrying import LONGEST_PAUSE_S, pause_s, trying_again

__all__ = ["LONGEST_PAUSE_S", "pause_s", "trying_again"]
