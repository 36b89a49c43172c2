"""Where bodies run, behind one port.

::

    runner        takes StartRun and StopRun, says RunStarted and RunEnded
      |  Launch     one run on its way: begin (the term is checked once more), end (once)
      v
    Executor      threads      a thread each; a body that does not look cannot be stopped
                  batches      a thread for many at once, in one call of the generator
                  coroutines   one event loop for all; stopped by a cancel
                  processes    a process each; stopped by force, with all it has started
                  foreign      any `concurrent.futures.Executor`

`body` is what all of them do: call the generator, and say what came of it. `choice` says which executor it is to be.
Who runs what, and when, is the scheduler's: an executor keeps no limits and no order, and counts nothing.
"""
