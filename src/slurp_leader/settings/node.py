"""The options of this node: who it is, and what it can do."""

from __future__ import annotations

import os
import re
import secrets
import socket
from functools import cache
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from slurp_leader.options import Capabilities, KeySegment, Options

_ADDRESS = re.compile(r"(?:https?://)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", re.ASCII)
_LONGEST_ADDRESS = 255


def default_node_id() -> str:
    """Host name and a few random letters; the same throughout a process, another one in a forked child."""
    return _node_id(os.getpid())


@cache
def _node_id(pid: int) -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:100].strip(".") or "node"
    return f"{host}-{secrets.token_hex(3)}"


def _check_address(text: str) -> str:
    match = _ADDRESS.fullmatch(text) if len(text) <= _LONGEST_ADDRESS else None
    if text and (match is None or not 0 < int(match[1]) < 65_536):
        raise ValueError("must be empty or an address others can reach, such as host:8080 or https://host:8443")
    return text


class NodeOptions(Options):
    """Who this node is."""

    section: ClassVar[str] = "node"

    id: KeySegment = Field(default_factory=default_node_id)
    """Name of this node, unlike that of any other; it stands in etcd keys, records and logs. 1 to 128 of
    ``A-Z a-z 0-9 . _ -``. Unset: BZZZ_AGENT_ID, else host name and random letters, new with each process."""

    cluster_id: KeySegment = "default"
    """Nodes with the same cluster id share elections and queue; all keys stand under ``/slurp/v1/{cluster_id}/``. 1 to
    128 of ``A-Z a-z 0-9 . _ -``."""

    advertise: Annotated[str, AfterValidator(_check_address)] = ""
    """Address of this node's service, shown to others when it leads: ``host:port`` or ``http(s)://host:port``. Empty:
    none."""

    capabilities: Capabilities = Field(default=("project_manager", "context_curation"), max_length=64)
    """What this node can do, published for the other nodes; up to 64 names, kept in lower case."""
