"""Fixtures for every test. They live in `support`, one idea a module."""

import os
import signal

from hypothesis import settings

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

# A shell starts what it runs in the background with Ctrl-C ignored, and every child inherits that; the tests that send
# SIGINT would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Whoever runs the tests may have settings of a real cluster; those of the tests themselves begin with SLURP_TEST_.
for name in list(os.environ):
    if name.upper().startswith(("SLURP_", "BZZZ_", "OTEL_")) and not name.startswith("SLURP_TEST_"):
        del os.environ[name]

# How long one example takes says how busy the machine is.
settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")

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
