"""What every store must do, held against the one in memory and against real etcd."""
