"""The demo: a real etcd, several node processes, a real repository, and ``kill -9`` to the leader in the middle.

It is a program that uses the library as any service would, and does not believe a word it says::

    command   options, exit codes, signals
    stage     etcd and nodes in a temporary folder; nothing of it is left behind
    drama     the story: stand, submit at a pace, kill, wait, end
    requests  which files, for which roles      submitter  brings them in
    witness   watches the raw records of etcd   checker    judges that history: lost, twice, outside its term
    picture   the same records, as they stand   screens    show it while it runs
    report    figures and samples               tables     sets them

*Lost* and *recorded twice* are counted by the witness from what etcd committed, never from what a node or a handle
says. After the kill the crash guard of the dead node gives its lease back, so the next one leads within milliseconds.
"""
