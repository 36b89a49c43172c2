"""From the setting to the store."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from slurp_leader.payloads.folder import FolderPayloadStore
from slurp_leader.payloads.port import PayloadStore
from slurp_leader.payloads.remote import FsspecPayloadStore

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*(::[a-zA-Z][a-zA-Z0-9+.-]*)*://.*")
_LOCAL_HOSTS = ("", "localhost")


def open_payload_store(url: str, cluster_id: str) -> PayloadStore | None:
    """The store that ``jobs.payload_store`` names, for one cluster: a folder of that name inside it. Nothing is written
    or asked yet.

    Args:
        url: The setting: empty for none; an absolute path or a ``file://`` URL for a folder; else a URL of `fsspec`.
        cluster_id: ``node.cluster_id``.

    Raises:
        ConfigurationError: What the URL needs is not installed. Names the setting and the package.
    """
    if not url:
        return None
    folder = folder_in(url)
    if folder is not None:
        return FolderPayloadStore(folder / cluster_id)
    return FsspecPayloadStore(f"{url.rstrip('/')}/{cluster_id}")


def folder_in(url: str) -> PurePosixPath | None:
    """The folder that a setting means; None for a URL of another kind."""
    if not _URL.fullmatch(url):
        return PurePosixPath(url)
    parts = urlsplit(url)
    return PurePosixPath(unquote(parts.path)) if parts.scheme == "file" else None


def problem_with(url: str) -> str:
    """Why a text cannot be the setting; empty when it can."""
    if not url:
        return ""
    if _URL.fullmatch(url):
        parts = urlsplit(url)
        if parts.password is not None:
            return "must hold no password: settings are shown; put it into the configuration of fsspec"
        if parts.scheme == "file" and parts.netloc not in _LOCAL_HOSTS:
            return f"names a host: write file:///{parts.netloc}{parts.path} for a path on this machine"
    folder = folder_in(url)
    if folder is not None and not folder.is_absolute():
        return "must be an absolute path, or a URL such as s3://bucket/folder: each process has its own working folder"
    return ""
