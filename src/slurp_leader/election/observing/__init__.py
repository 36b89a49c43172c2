"""Who leads, seen from anywhere: each change, in order, and what was missed.

`observer` (what is known, for questions and waits) -> `changes` (the stream of one consumer) -> `missed` (what a watch
that was away can still read of the terms in between).
"""
