"""Health checks of a service: whether this node should lead.

::

    due -> run on a thread of its own -> failed, or no answer in time, `failure_threshold` times in a row: unhealthy
                                      -> ok once: healthy again

An unhealthy node lets others go first when the key is free, for a bounded time (PROTOCOL A17: all may be unhealthy at
once, and somebody has to lead). An unhealthy leader hands over, if there is somebody to hand over to.

`state` decides (pure), `checks` runs them.
"""

from slurp_leader.health.checks import Check, HealthChecks
from slurp_leader.health.options import HealthOptions

__all__ = ["Check", "HealthChecks", "HealthOptions"]
