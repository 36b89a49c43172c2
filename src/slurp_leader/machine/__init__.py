"""State machines without threads, sockets or clocks, and the thread that drives one.

A machine has one verb::

    step(event, now) -> commands

`now` is boottime in seconds. Events are values: something the owner wants, a change seen by watch, or the `Answer` to
an earlier `Call`. Commands are values too: a `Call` to send to the store, or something of the machine's own that its
owner understands. Between events a machine wants to be stepped with `Tick()` at `wake_at`.

`Loop` is the thread shell of a program; the simulator under ``tests/`` steps the very same objects on a virtual clock.
"""

from slurp_leader.machine.calls import Answer, Call, Calls, Tick, Timers
from slurp_leader.machine.loop import Loop, Machine

__all__ = ["Answer", "Call", "Calls", "Loop", "Machine", "Tick", "Timers"]
