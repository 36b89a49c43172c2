"""Leader election on etcd leases, and a durable job queue that only the leader runs."""
