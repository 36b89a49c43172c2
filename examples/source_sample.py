"""The shortest program there is: become the leader, ask for the context of one file, and show it.

Run it beside ``config.yaml``: ``cd examples && python source_sample.py``. It needs an etcd (``slurp etcd dev``).
"""

from slurp_leader import ContextGenerationRequest, Priority, SlurpLeaderSystem

system = SlurpLeaderSystem("config.yaml")
system.start()
if not system.wait_for_leadership(timeout=30):
    raise SystemExit("failed to gain leadership")
result = system.request_context_generation(
    ContextGenerationRequest(
        ucxl_address="ucxl://example.com/path/to/file",
        file_path="/path/to/file.go",  # below the configured workspace root
        role="developer",
        priority=Priority.NORMAL,
    )
)
assert result.node is not None
print(result.node.ucxl_address)
print(result.node.summary)
for insight in result.node.insights:
    print("-", insight)
system.stop()
