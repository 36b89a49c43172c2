"""The parts of the store package that need no etcd."""
