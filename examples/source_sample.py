"""The shortest program there is: become the leader, ask for the context of one file, and show it.

Its settings are in ``config.yaml``, with a cluster of its own. It needs an etcd (``slurp etcd dev``).
"""

import os
from pathlib import Path

from slurp_leader import ContextGenerationRequest, Priority, SlurpLeaderError, SlurpLeaderSystem


def main() -> None:
    os.chdir(Path(__file__).parent)  # the workspace that config.yaml names counts from the working directory
    with SlurpLeaderSystem("config.yaml") as system:
        if not system.wait_for_leadership(timeout=30):
            raise SystemExit("source_sample: failed to gain leadership; is etcd running, and no other leader?")
        result = system.request_context_generation(
            ContextGenerationRequest(
                ucxl_address="ucxl://example.com/path/to/file",
                file_path="/path/to/file.go",  # below the configured workspace root
                role="developer",
                priority=Priority.NORMAL,
            )
        )
    if result.node is not None:
        print(result.node.ucxl_address)
        print(result.node.summary)
        for insight in result.node.insights:
            print("-", insight)


if __name__ == "__main__":
    try:
        main()
    except SlurpLeaderError as error:
        raise SystemExit(f"source_sample: {error}") from None
