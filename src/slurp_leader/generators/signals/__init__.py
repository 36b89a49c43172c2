"""Places in the code that some reader would want to be told about, found by pattern, each with its line.

Patterns look at text without comments (and, for most, without strings), so that a word in a docstring is no finding.
They point at places; they prove nothing. Values are never quoted: a secret found must not travel on.
"""

from slurp_leader.generators.signals.find import Signal, find, rules_for
from slurp_leader.generators.signals.rules import Rule, Topic

__all__ = ["Rule", "Signal", "Topic", "find", "rules_for"]
