"""Who stands, what a candidate is worth, and who goes first: pure functions over values, the same on every node.

`candidates` (the record that each candidate publishes) -> `scoring` (what it is worth) -> `eligible` (what forbids it
to lead or puts it back, the order of all, how long each lets others go first, and who is asked to take over).
"""
