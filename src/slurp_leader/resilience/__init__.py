"""What is done about calls that fail: try again, or leave alone what keeps failing.

Trying again (`retrying`): how long to wait before it, and for what. One policy for every thread that has lost the
store, built on `tenacity`. State machines do not use it: they take their pauses from a seeded source of their own, so
that the simulator can repeat a history.

Leaving alone: a circuit breaker. `circuit` decides, as functions over values; `breaker` is that around calls; `changes`
tells of it. Never around renewal: whether a leader may go on is asked of etcd each time anew.
"""

from slurp_leader.resilience.breaker import CircuitBreaker, CircuitSnapshot, is_failure
from slurp_leader.resilience.changes import CircuitChange
from slurp_leader.resilience.circuit import CircuitState
from slurp_leader.resilience.options import BreakerOptions
from slurp_leader.resilience.retrying import LONGEST_PAUSE_S, pause_s, trying_again

__all__ = [
    "LONGEST_PAUSE_S",
    "BreakerOptions",
    "CircuitBreaker",
    "CircuitChange",
    "CircuitSnapshot",
    "CircuitState",
    "is_failure",
    "pause_s",
    "trying_again",
]
