"""Picking: which of the jobs that could run is claimed next.

::

    ready jobs -> lanes          of one priority, project, role and size, in the order they arrived
    lanes      -> picker         the most urgent lane that nothing holds back; projects take turns
    control    -> rules          what operators and settings allow: pauses, limits, places
    claims, runs -> usage        what is taken of that, counted from what is under way, never stored

**Priority and age.** Five classes. Each `jobs.age_step` that a job has waited lifts it by one class, up to `high`,
where it goes before younger jobs. So nothing below `critical` starves anything: whatever arrives later than a job has
to wait behind it sooner or later. A flood of `critical` may starve the rest, that is what it is for; the oldest age in
the queue's status shows it.

**Limits and pauses** hold back the jobs they are about and no others. A job that is held back keeps its place.

**Places.** A job takes `slots` workers and `memory` bytes of what the leader has. One that does not fit at present is
passed over, for one `age_step`; then what becomes free is kept for it, or small jobs would starve it. Nothing is kept
for one that would have to wait for a run that was told to stop and does not: that may be for ever.

Everything here is a value or a structure of one term, without clock, thread or store. Which job is picked depends only
on what was put in and on the times that came with it.
"""
