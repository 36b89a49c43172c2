"""When to try a failed request again.

The pause doubles with each attempt, and a random part keeps clients that failed together from coming back together.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

MAX_ATTEMPTS = 5


class GiveUpError(Exception):
    """The last attempt has failed."""


@dataclass(frozen=True)
class Backoff:
    """How long to wait between attempts.

    Attributes:
        first_s: Seconds before the second attempt.
        limit_s: The longest pause.
    """

    first_s: float = 0.1
    limit_s: float = 30.0

    def pauses(self, attempts: int = MAX_ATTEMPTS) -> Iterator[float]:
        """Yield the pause before each further attempt."""
        if attempts < 1:
            raise ValueError("attempts: must be 1 or more")
        for attempt in range(attempts - 1):
            pause = min(self.limit_s, self.first_s * 2**attempt)
            yield pause * random.uniform(0.5, 1.0)


def should_retry(status: int, attempt: int) -> bool:
    """Tell whether a status is worth another attempt."""
    if attempt >= MAX_ATTEMPTS:
        raise GiveUpError(f"status {status} after {attempt} attempts")
    return status == 429 or status >= 500
