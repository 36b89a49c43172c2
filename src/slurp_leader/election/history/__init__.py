"""How terms came about, and why not another node: pure functions over what stands in etcd.

`entries` (what is remembered of elections and orders) and `situation` (how an election stands, read at one revision)
-> `explain` (why a node leads, or does not, in plain words) and `simulate` (who would go first with other weights),
both as rows of a `table`. Nothing is decided by any of it.
"""
