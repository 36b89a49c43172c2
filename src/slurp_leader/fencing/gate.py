"""What every fence does, and the two values it is asked about."""

from __future__ import annotations

from typing import Protocol

from slurp_leader.errors import StaleTokenError

LARGEST_TOKEN = 2**63 - 1
"""Revisions of etcd are signed 64-bit numbers, and so are the columns that keep them."""

LONGEST_RESOURCE = 255
"""Characters. What a text column that is a primary key holds in every database; a name that was cut is another one."""


class FenceGate(Protocol):
    """Refuses tokens older than the newest it has seen, for each resource apart.

    A protocol, for type checkers: whatever has these two methods is one. `isinstance` does not tell.
    """

    def admit(self, token: int, resource: str) -> None:
        """Let a token through, and keep it if it is the newest. An equal one passes: it is the same leader.

        Args:
            token: From `Term.token` or `JobContext.token`.
            resource: What is about to be written; 1 to 255 characters.

        Raises:
            StaleTokenError: A newer one was seen. Write nothing.
            ValueError: Not a token, or not the name of a resource.
        """
        ...

    def newest(self, resource: str) -> int | None:
        """The newest token seen for a resource; None when none is known. For people and messages: decide by `admit`."""
        ...


def check_token(token: object) -> int:
    """Return the token.

    Raises:
        ValueError: It is no revision of etcd.
    """
    if not isinstance(token, int) or isinstance(token, bool) or not 1 <= token <= LARGEST_TOKEN:
        raise ValueError(f"a token is a whole number from 1 to 2**63 - 1, not {token!r}")
    return token


def check_resource(resource: str) -> str:
    """Return the name.

    Raises:
        ValueError: It is empty, too long, or no text.
    """
    if not isinstance(resource, str) or not 1 <= len(resource) <= LONGEST_RESOURCE:
        raise ValueError(f"the name of a resource has 1 to {LONGEST_RESOURCE} characters; got {resource!r:.60}")
    return resource


def stale(token: int, newest: int, resource: str) -> StaleTokenError:
    """The error that refuses a token. `newest` 0: newer, but not known which."""
    seen = f"the newest seen is {newest}" if newest else "a newer one was seen"
    return StaleTokenError(
        f"token {token} is stale for {resource!r}: {seen}", token=token, newest=newest, resource=resource
    )
