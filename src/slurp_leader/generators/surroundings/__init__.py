"""The files around a file: those it imports, those that test it, the one that it tests.

`max_depth` of a request says how far to go: 0 looks at the file alone; 1 adds the manifests above it and its tests; 2
adds the workspace files that it imports; each step more adds the imports of those.
"""

from slurp_leader.generators.surroundings.around import Surroundings, look_around
from slurp_leader.generators.surroundings.tests import TestFile, is_test

__all__ = ["Surroundings", "TestFile", "is_test", "look_around"]
