"""Taking a source text apart: what it defines, names, says and hides, each with its line.

Three readers, best first: tree-sitter for the languages that there is a grammar for, the standard library's ``ast``
for Python without it, and an outline by patterns for all the rest. All give a `Structure`.
"""

from slurp_leader.generators.symbols.reader import read
from slurp_leader.generators.symbols.structure import Comment, Import, Structure

__all__ = ["Comment", "Import", "Structure", "read"]
