"""Health check of the node image: this node stands in etcd's list of live nodes, under the id it was given.

Exits with 0 when it does. Otherwise the last line says what is wrong.
"""

import json
import os
import subprocess
import sys

_TIMEOUT_S = 8.0


def main() -> str | None:
    """What is wrong; None when nothing is."""
    status = subprocess.run(
        ["slurp", "--timeout", "5", "status", "--json"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if status.returncode != 0:
        return f"slurp status: {status.stdout or status.stderr}"
    node_id = os.environ["SLURP_NODE__ID"]
    listed = [node["node_id"] for node in json.loads(status.stdout)["nodes"]]
    return None if node_id in listed else f"{node_id} is not among the live nodes: {listed}"


if __name__ == "__main__":
    sys.exit(main())
