"""A durable queue of jobs that only the leader runs.

The life of one job, and the order in which the modules read::

    client, submitter      submit -> queue/{id} in one create-only transaction -> the caller is told
    picture, ready         the leader sees it by watch, and puts it in line
    leading                the term that runs the queue; its parts are
      claims                 claim -> run/{token}-{n}, before any body starts
      breaker                whether to claim at all, while the generator keeps failing
      runs, runner           run -> the generator, where an executor runs it (`executors`), with a `context`
      cache                  what an earlier run came to is given again instead, where the same would come of it
      packing                a result too large for etcd -> the payload store, before the run is told to have ended
      recorder, decisions    finish -> done/{id} written, queue/{id} deleted, at one revision; or state/{id}: once more
      recovery               what there is to put right: a plan, from how things stand
      orphans                what an earlier term left running is counted as interrupted, and is in line again
      quota_guard, quota     how full the store is, and what gives way; `compaction`: whether anybody compacts it
      upkeep                 leftovers, admission
      pruner, retention      outcomes that are not kept any longer, by age and count; payloads nothing refers to
      grants                 what terms that were handed over left behind, and until when their old leaders may end it
    inventory              what there is, as counts and one number, for whoever leads next
    unled                  while nobody leads, submitters keep the limits of the store themselves
    outcomes               the submitter sees done/{id} by watch, and its handle resolves

What is asked for about jobs that are there: `changes` (to cancel one, to try it again), `operations` (by id or filter,
and purge), `job_filter` (which jobs are meant), `parked` (records that nobody can read). A full queue: `admission`
(what full means, and what is told), `door` (who waits for room).

Below all of these: `records` (what is written), `intents` (the transactions), `commit` (many of them in one),
`engine` and `client` (threads around the machines `scheduler` and `submitter`), `reports` (reading).

Promised: an accepted job ends in exactly one recorded outcome, whatever crashes in between. It may run more than once:
its leader can die after the body has acted and before the outcome is written. User code gets a fencing token that grows
with every run of the same job, so that a store of its own can tell an old run from a new one.

Not promised: that a run which was told to stop has stopped (a thread cannot be killed); any order between jobs beyond
priority and arrival at the time of claiming; that a job which brings its process down spares those that run beside it,
which are run again.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slurp_leader.jobs.admission import QueueLevel
    from slurp_leader.jobs.changes import CancelAnswer, RetryAnswer
    from slurp_leader.jobs.client import JobClient, OnFull
    from slurp_leader.jobs.context import JobContext
    from slurp_leader.jobs.engine import JobEngine
    from slurp_leader.jobs.handle import JobHandle
    from slurp_leader.jobs.job_filter import JobFilter
    from slurp_leader.jobs.new_job import NewJob, OnDuplicate
    from slurp_leader.jobs.operations import PurgeAnswer
    from slurp_leader.jobs.options import JobsOptions
    from slurp_leader.jobs.parked import ParkedRecord, ReleaseAnswer
    from slurp_leader.jobs.records import JobOutcome, JobStatus
    from slurp_leader.jobs.reports import JobReport
    from slurp_leader.jobs.request import Priority

_HOMES = {
    "CancelAnswer": "changes",
    "JobClient": "client",
    "JobContext": "context",
    "JobEngine": "engine",
    "JobFilter": "job_filter",
    "JobHandle": "handle",
    "JobOutcome": "records",
    "JobReport": "reports",
    "JobStatus": "records",
    "JobsOptions": "options",
    "NewJob": "new_job",
    "OnDuplicate": "new_job",
    "OnFull": "client",
    "ParkedRecord": "parked",
    "Priority": "request",
    "PurgeAnswer": "operations",
    "QueueLevel": "admission",
    "ReleaseAnswer": "parked",
    "RetryAnswer": "changes",
}

__all__ = [
    "CancelAnswer",
    "JobClient",
    "JobContext",
    "JobEngine",
    "JobFilter",
    "JobHandle",
    "JobOutcome",
    "JobReport",
    "JobStatus",
    "JobsOptions",
    "NewJob",
    "OnDuplicate",
    "OnFull",
    "ParkedRecord",
    "Priority",
    "PurgeAnswer",
    "QueueLevel",
    "ReleaseAnswer",
    "RetryAnswer",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that a submitter need not load what only a leader runs."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
