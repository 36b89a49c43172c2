"""Addresses of etcd members, as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = "write host:port, http://host:port or https://host:port; an IPv6 address in brackets: [::1]:2379"
_ENDPOINT = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,9})/?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one member listens for clients. `secure` is None when the text did not say."""

    host: str
    port: int
    secure: bool | None = None

    @property
    def target(self) -> str:
        """``host:port``, as gRPC wants it."""
        return f"{self.host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """Read one address.

    >>> parse_endpoint("https://[::1]:2379")
    Endpoint(host='[::1]', port=2379, secure=True)

    Raises:
        ValueError: It is malformed; the message says what to write. The text itself is not repeated: it may hold a
            password.
    """
    match = _ENDPOINT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"is not an address: {_FORM}")
    scheme = (match["scheme"] or "").lower()
    if scheme not in {"", "http", "https"}:
        raise ValueError(f"has the scheme {scheme!r}: {_FORM}")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise ValueError(f"has the port {port}: ports go from 1 to 65535 (etcd's own is 2379)")
    return Endpoint(match["host"].lower(), port, {"http": False, "https": True}.get(scheme))
