"""The cases of `benchmarks/failover.py`.

`node` is what the processes under test run, `bench` starts and ends them, `observer` watches etcd and takes the times,
`report` turns times into rows. Each other module holds the cases of one kind of trouble.
"""
