"""gRPC channels: one for each member, encrypted as the options say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from slurp_leader.etcd.endpoints import Endpoint
from slurp_leader.etcd.grpc_runtime import grpc, in_own_process
from slurp_leader.etcd.options import EtcdOptions

MAX_RECEIVE_BYTES = 1024**3
"""Largest answer taken. Python's default of 4 MiB refuses ordinary range reads; and a watch that catches up is sent up
to 1000 revisions in one answer, which 64 MiB would not hold: it would be refused again after every resume."""

_FIRST_RECONNECT_MS = 100
_LAST_RECONNECT_MS = 1_000
_PING_TIMEOUT_MS = 5_000


def open_channel(endpoint: Endpoint, options: EtcdOptions) -> grpc.Channel:
    """A channel to one member. It connects by itself when first used, and again after every loss.

    Raises:
        LifecycleError: In a child that was forked off a process with channels; see `grpc_runtime`.
    """
    settings = channel_settings(options)
    if not options.uses_tls:
        return in_own_process(lambda: grpc.insecure_channel(endpoint.target, options=settings))
    return in_own_process(lambda: grpc.secure_channel(endpoint.target, credentials(options), options=settings))


def credentials(options: EtcdOptions) -> grpc.ChannelCredentials:
    """Authorities, and our own certificate for mTLS. Files are read now: a new certificate needs a new store."""
    return grpc.ssl_channel_credentials(*credential_texts(options))


def credential_texts(options: EtcdOptions) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Authorities, own key and own certificate as PEM, in the order in which gRPC takes them."""
    return (
        _pem(options.ca_file, options.ca_pem),
        _pem(options.key_file, options.key_pem),
        _pem(options.cert_file, options.cert_pem),
    )


def channel_settings(options: EtcdOptions) -> list[tuple[str, Any]]:
    """What gRPC is told about a connection."""
    settings: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        ("grpc.max_send_message_length", -1),  # etcd itself says what is too large
        # Two stores of one process never share a connection: heartbeats do not queue behind a job's megabytes.
        ("grpc.use_local_subchannel_pool", 1),
        # Proxies set in the environment are meant for the web.
        ("grpc.enable_http_proxy", 0),
        # A member that returns is used again within about a second.
        ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", _LAST_RECONNECT_MS),
        # In spite of its name this is how long one attempt to connect may take.
        ("grpc.min_reconnect_backoff_ms", _milliseconds(options.connect_timeout.total_seconds())),
        ("grpc.keepalive_time_ms", _milliseconds(options.keepalive_interval.total_seconds())),
        ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
        # Without calls under way etcd takes pings for an attack.
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http2.max_pings_without_data", 0),  # no limit: a quiet watch is pinged for hours
    ]
    if options.server_name is not None:
        settings.append(("grpc.ssl_target_name_override", options.server_name))
    return settings


def _pem(file: Path | None, text: str | SecretStr | None) -> bytes | None:
    if file is not None:
        return file.read_bytes()
    if isinstance(text, SecretStr):
        text = text.get_secret_value()
    return None if text is None else text.encode()


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
