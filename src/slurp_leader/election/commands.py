"""Commands of ``slurp`` that messages name, such that they are about the election that is meant.

Hints are written without one; which election they are about is known where they are shown.
"""

from __future__ import annotations

import re
import shlex

_ABOUT_ONE = re.compile(r"`(slurp (?:leader (?!ls\b)|status\b)[^`]*)`")
_NODE = "`slurp run`"
"""It takes its election from the settings only."""


def about(election: str, hint: str) -> str:
    """A hint whose commands, between backquotes, name the election, where they are about one."""
    name = shlex.quote(election)
    named = _ABOUT_ONE.sub(lambda quoted: f"`{quoted[1]} --election {name}`", hint)
    return named.replace(_NODE, f"`SLURP_ELECTION__NAME={name} slurp run`")
