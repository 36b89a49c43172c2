"""Work that the leader does now and then, and only the leader: every minute, or by a cron expression.

What is promised: each due time is begun **at most once**, on the node that leads, whoever that is by then. A change of
the leader in between neither skips it (the next leader begins what became due meanwhile) nor doubles it. Due times that
are older than the grace of the work are skipped, and so are those that come while the run before is still under way:
both are counted, and logged.
What is not: that a run that began comes to its end. A crash or the loss of the term cuts it off, and it is not begun
again; work that must be done to its end belongs into the job queue.

The way in: `Periodic` (threads) -> `PeriodicMachine` (decides; no thread, no clock) -> `schedule` and `cron` (when),
`records` (what is kept, and the transactions). `Runner` runs the functions.
"""

from slurp_leader.periodic.messages import RunOutcome, SkipReason, Work
from slurp_leader.periodic.periodic import Periodic
from slurp_leader.periodic.runner import Task
from slurp_leader.periodic.schedule import Cron, Interval, Schedule

__all__ = ["Cron", "Interval", "Periodic", "RunOutcome", "Schedule", "SkipReason", "Task", "Work"]
