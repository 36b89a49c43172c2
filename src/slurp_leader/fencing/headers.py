"""How a token travels over HTTP: one header for the token, one for the resource."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote, unquote

from slurp_leader.fencing.gate import LARGEST_TOKEN, check_resource, check_token

TOKEN_HEADER = "Slurp-Token"
RESOURCE_HEADER = "Slurp-Resource"


class Holder(Protocol):
    """Who has a token, such as a `Term` or a `JobContext`."""

    @property
    def token(self) -> int:
        """The fencing token."""
        ...

    def check(self) -> None:
        """Raise unless its holder may still act."""
        ...


def fence_headers(holder_or_token: Holder | int, /, *, resource: str | None = None) -> dict[str, str]:
    """The headers that let a receiver fence a request, as in ``httpx.put(url, headers=fence_headers(term))``.

    Args:
        holder_or_token: A `Term` or a job, which is checked first: of a term that is over no request is sent. Or a bare
            token, for which nothing can be checked.
        resource: What the request writes; None: what the receiver takes for it, by default the path. It is
            percent-encoded, so any text can travel.

    Raises:
        LeadershipLostError: The term is over. Send nothing.
        JobInterrupted: The job has to stop. Send nothing.
        ValueError: Not a token, or not the name of a resource.
    """
    if isinstance(holder_or_token, int) or not hasattr(holder_or_token, "check"):
        token = check_token(holder_or_token)
    else:
        holder_or_token.check()
        token = check_token(holder_or_token.token)
    headers = {TOKEN_HEADER: str(token)}
    if resource is not None:
        headers[RESOURCE_HEADER] = quote(check_resource(resource))
    return headers


def read_token(text: str) -> int:
    """Read the value of a token header. Strict: ``int`` takes signs, blanks, underscores and other scripts' digits.

    Raises:
        ValueError: Not a token.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_TOKEN))):
        raise ValueError(f"{TOKEN_HEADER} is not a whole number: {text!r:.60}")
    return check_token(int(text))


def read_resource(text: str) -> str:
    """Read the value of a resource header.

    Raises:
        ValueError: Not the percent-encoded name of a resource.
    """
    try:
        return check_resource(unquote(text, errors="strict"))
    except UnicodeDecodeError:
        raise ValueError(f"{RESOURCE_HEADER} is not percent-encoded UTF-8: {text!r:.60}") from None
