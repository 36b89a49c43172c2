"""A node that brings in requests and, as long as it leads, works on them itself.

Start it in several shells at once: one of them leads and does the work of all. It needs an etcd (``slurp etcd dev``).
All nodes of one cluster id must have the same generator, so this example has a cluster of its own.
"""

from pathlib import Path

from slurp_leader import SlurpLeaderError, SlurpLeaderSystem, SlurpSettings

WORKSPACE = Path(__file__).parent / "workspace"
FILES = ["path/to/file.go", "jobs/retry.py", "web/client.ts", "engine/src/lib.rs"]


def main() -> None:
    settings = SlurpSettings(node={"cluster_id": "quickstart"}, generator={"workspace_root": WORKSPACE})
    with SlurpLeaderSystem(settings) as slurp:
        slurp.ping()  # otherwise an etcd that is not there would be waited for

        # From here on the requests cannot get lost, whoever leads, and whatever crashes.
        handles = [slurp.submit(path, role="reviewer", priority="high") for path in FILES]

        for handle in handles:
            result = handle.result(timeout=60)
            if result.node is not None:
                print(f"{result.node.path}: {result.node.summary}")
                print(f"    {result.node.insights[0]}")

        leader = slurp.leader.wait(timeout=10)
        print(f"{len(handles)} contexts; the leader is {leader.node_id}, this node is {slurp.settings.node.id}")


if __name__ == "__main__":
    try:
        main()
    except SlurpLeaderError as error:
        raise SystemExit(f"quickstart: {error}") from None
