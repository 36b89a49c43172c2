"""Your own work in place of the built-in generator: here, the outline of a text file.

A generator is a function of the request and the job. It may run more than once when a leader crashes under it, so what
it writes elsewhere should carry ``job.token``: a store that refuses smaller tokens cannot be hurt by an old leader.

All nodes of one cluster id must have the same generator: any of them may lead, and the leader does the work of all. So
this example has a cluster of its own. It needs an etcd (``slurp etcd dev``).
"""

from pathlib import Path
from typing import Any

from slurp_leader import (
    ContextGenerationRequest,
    JobContext,
    JobFailedError,
    SlurpLeaderError,
    SlurpLeaderSystem,
    SlurpSettings,
    TerminalError,
)

WORKSPACE = (Path(__file__).parent / "workspace").resolve()
slurp = SlurpLeaderSystem(SlurpSettings(node={"cluster_id": "custom-generator"}))


@slurp.generator
def outline(request: ContextGenerationRequest, job: JobContext) -> dict[str, Any]:
    file = (WORKSPACE / request.file_path.lstrip("/")).resolve()
    if not file.is_relative_to(WORKSPACE):  # "..", or a link that leads out
        raise TerminalError(f"{request.file_path} is outside the workspace", code="outside")
    if file.suffix != ".md":
        raise TerminalError(f"{file.name} is no Markdown", code="not_markdown")  # any other error is tried again
    headings = []
    for line in file.read_text(encoding="utf-8").splitlines():
        job.check()  # raises when the job was cancelled, is out of time, or this node leads no more
        if line.startswith("#"):
            headings.append(line.lstrip("# "))
    return {"headings": headings, "attempt": job.attempt, "token": job.token}


def main() -> None:
    with slurp:
        slurp.ping()
        print(slurp.submit("README.md").result(timeout=60).value)
        try:
            slurp.submit("path/to/file.go").result(timeout=60)
        except JobFailedError as error:
            print(error)


if __name__ == "__main__":
    try:
        main()
    except SlurpLeaderError as error:
        raise SystemExit(f"custom_generator: {error}") from None
