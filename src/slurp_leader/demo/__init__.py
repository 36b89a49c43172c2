"""The demo: a real etcd, several node processes, a real repository, and ``kill -9`` to the leader in the middle.

It is a program that uses the library as any service would, and does not believe a word it says::

    command   options, exit codes, signals
    stage     etcd and nodes in a temporary folder; nothing of it is left behind
    drama     the story: stand, submit at a pace, kill, wait, end
    requests  which files, for which roles      submitter  brings them in
    witness   watches the raw records of etcd   checker    judges that history: lost, twice, outside its term
    picture   the same records, as they stand   screen     shows it while it runs
    report    figures and samples               tables     sets them

*Lost* and *recorded twice* are counted by the witness from what etcd committed, never from what a node or a handle
says. How long nobody leads after a crash is decided by the TTL of the lease: 3 s, the shortest.
"""
