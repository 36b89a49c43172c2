"""What a crash guard has to know to reach etcd by itself: the options of the connection as plain data."""

from __future__ import annotations

from slurp_leader.etcd.channels import channel_settings, credential_texts
from slurp_leader.etcd.options import EtcdOptions
from slurp_leader.guard.messages import Route


def route_of(options: EtcdOptions) -> Route:
    """The way to etcd, for another process. Certificates are read now.

    Raises:
        OSError: A certificate file cannot be read.
    """
    ca, key, cert = (text.decode() if text else None for text in credential_texts(options))
    return Route(
        targets=tuple(endpoint.target for endpoint in options.members),
        settings=tuple(channel_settings(options)),
        tls=options.uses_tls,
        ca=ca,
        key=key,
        cert=cert,
        username=options.username,
        password=options.password.get_secret_value() if options.password else None,
    )
