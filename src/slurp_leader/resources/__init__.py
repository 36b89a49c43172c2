"""What is free of this machine, or of the container this process runs in. The only importer of psutil."""

from slurp_leader.resources.meter import MachineMeter

__all__ = ["MachineMeter"]
