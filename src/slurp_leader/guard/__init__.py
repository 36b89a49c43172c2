"""The crash guard: a second process that gives leases back when the first one dies or stops moving.

Without it a killed leader keeps its lease until the TTL is over. The guard knows the lease ids, sees the death (by
`pidfd`, within a millisecond), and revokes them, so the next leader starts in milliseconds.

::

    the program                                   the guard
    -----------                                   ---------
    hold lease, before it is granted  ---------->  remembers it
    beat, beat, beat ...              ---------->  counts its own wake-ups between beats
    (killed)                          - pidfd -->  revokes what was held
    (stopped, or holding the GIL)                  silence of `stall_timeout`: revokes what was held
    (goes on) beat, and do you hold?  ---------->
                                      <----------  yes, or no: it is being given back
    drop, bye                         ---------->  forgets it, ends

**What makes it safe.** A revoked lease only ends a term: every write of it is fenced, and trust never lasts longer than
the last beat plus `stall_timeout` less a margin (PROTOCOL A1), so the guard never revokes while the program believes.
After a silence beyond that the program believes nothing before the guard has answered: a revoke may be on its way.
**What it cannot do.** When container, host or network die, guard and program die together, and the TTL decides. In a
container the program has to be the child: ``slurp guard -- CMD``. NOTES.md has what else could surprise.

`messages` is the language of the two, `holdings` decides (pure), `etcd` revokes (gRPC and nothing else: the guard has
to stay small, so neither protobuf nor pydantic is loaded), `groups` kills what a program has started, `watch` is the
loop of the process, `child` and `parent` its two forms, `client` the program's side. `starter` waits to become a
program whose group the guard is to know before.
"""
