"""Fixtures for every test. They live in `support`, one idea a module."""

from support.etcd import (
    backend,
    etcd_endpoint,
    etcd_server,
    etcd_servers,
    etcd_store,
    memory_store,
    operator,
    prefix,
    store,
)

__all__ = [
    "backend",
    "etcd_endpoint",
    "etcd_server",
    "etcd_servers",
    "etcd_store",
    "memory_store",
    "operator",
    "prefix",
    "store",
]
