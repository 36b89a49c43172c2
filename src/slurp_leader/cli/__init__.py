"""The command line ``slurp``: a thin front end over what the library offers to everybody.

::

    entry  -->  app (the table of commands)  -->  one module a noun: jobs, leader, status, node, etcd, config ...
                  |                                   |
                  +- options: given on every command  +- connection: etcd, within the time given
                  +- exits: errors -> exit code, fix  +- output: data on stdout, messages on stderr

Rules that hold for every command: data goes to standard output and messages to standard error; ``--json`` makes the
data one JSON document, also when the command fails; what etcd does not answer is given up after ``--timeout``; nobody
sees a traceback who did not ask for one with ``-vv``. Whatever takes long to import is imported by the command that
needs it, so that ``slurp --help`` is quick.
"""

from slurp_leader.cli.entry import main

__all__ = ["main"]
