"""Generators: what turns a request into context.

A generator is any object with a ``generate(request, job)`` method, sync or async; a plain function does as well where
the library takes one. It returns a `ContextNode`, any JSON value, or an object with ``to_wire()``. It tells the
queue what to do next by what it raises: `TerminalError` (never again), `RetryAfterError` (again, not before), and
anything else (again, by the retry policy).

`FileContextGenerator` is the one that comes with the library: it reads one file and its surroundings, and needs
neither a model nor a network. Its steps, in the order in which `file_context` takes them::

    workspace  open safely   ->  languages  which one   ->  symbols  take apart    ->  signals  notable places
    surroundings  manifests, tests, imports             ->  technologies           ->  history  one call of git
    facts  all of it         ->  summary, insights (by role), confidence           ->  ContextNode

Threads: one generator serves many jobs at once, each on its own thread.
"""

from slurp_leader.generators.file_context import FileContextGenerator
from slurp_leader.generators.history import GitOptions
from slurp_leader.generators.port import Generator, JobContextLike

__all__ = ["FileContextGenerator", "Generator", "GitOptions", "JobContextLike"]
