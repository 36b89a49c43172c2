"""What is free of this machine, or of the container this process runs in, and what processes take. The only importer of
psutil."""

from slurp_leader.resources.meter import MachineMeter
from slurp_leader.resources.processes import ProcessTree

__all__ = ["MachineMeter", "ProcessTree"]
