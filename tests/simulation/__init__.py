"""Three nodes and two submitters of the very code in `src`, on a store in memory and a clock moved by hand.

* `cluster` builds them, and joins election and jobs as a program does.
* `trouble` is what goes wrong, drawn from the seed: first trouble, then peace, in which everything has to come right.
* `history` is what was done and said; `checker` holds it against the promises, with nothing but the store's own log of
  changes as the truth.
* `planted` takes one rule out of the code at a time: the checker has to notice.

One seed, one history: ``python -m tests.simulation --seed 7 --verbose`` shows it again.
"""
