"""Regular expressions that a hostile file cannot stall.

Python matches patterns while it holds the interpreter lock. A pattern that takes seconds on a file made for it would
stop every thread of the process, the one that renews the lease among them: one bad file would cost the leader its
term. So all patterns that meet whole files are compiled here, where ``*`` and ``+`` become bounded repetitions: the
work of a match is then at most a constant for each character of the file.
"""

from __future__ import annotations

import re

_MOST_BLANKS, _MOST = 40, 120
_TOKEN = re.compile(r"(\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[^\\)])([*+])|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)


def bounded(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a pattern with every ``*`` and ``+`` of a single character or class bounded.

    Repeated groups stay as they are: write them with a bound of their own.
    """
    return re.compile(_TOKEN.sub(_bound, pattern), flags)


def _bound(token: re.Match[str]) -> str:
    atom, sign = token[1], token[2]
    if sign is None:
        return token[0]
    most = _MOST_BLANKS if atom in (r"\s", r"[ \t]") else _MOST
    return f"{atom}{{{0 if sign == '*' else 1},{most}}}"
