"""A web service that takes requests on every instance and works on them on one: ``uvicorn fastapi_service:app``.

In a container: ``slurp guard -- uvicorn fastapi_service:app``, so that a killed instance gives its lease back at once.
Run as a script it starts, asks itself once, and stops. It needs FastAPI and an etcd (``slurp etcd dev``).
All nodes of one cluster id must have the same generator, so this example has a cluster of its own.
"""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException

from slurp_leader import SlurpLeaderError, SlurpLeaderSystem, SlurpSettings
from slurp_leader.errors import JobNotFoundError, RequestInvalidError

WORKSPACE = Path(__file__).parent / "workspace"
slurp = SlurpLeaderSystem(
    SlurpSettings(node={"cluster_id": "fastapi-service"}, generator={"workspace_root": WORKSPACE})
)
app = FastAPI(lifespan=slurp.lifespan)  # stopping the service finishes what runs and gives the term back


@app.post("/contexts", status_code=202)
def ask(path: str, role: str = "developer") -> dict[str, str]:
    try:
        return {"id": slurp.submit(path, role=role).id}  # kept, from here on
    except RequestInvalidError as error:
        raise HTTPException(422, str(error)) from None


@app.get("/contexts/{job_id}")
def look(job_id: str) -> dict[str, Any]:
    try:
        return slurp.jobs.report(job_id).as_dict()
    except (JobNotFoundError, RequestInvalidError) as error:
        raise HTTPException(404, str(error)) from None


@app.get("/status")
def status() -> dict[str, Any]:
    return slurp.status()


async def main() -> None:
    async with app.router.lifespan_context(app):
        await asyncio.to_thread(slurp.ping)
        job_id = ask("path/to/file.go")["id"]
        result = await slurp.jobs.get(job_id)
        if result.node is not None:
            print(f"{look(job_id)['status']}: {result.node.summary}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except SlurpLeaderError as error:
        raise SystemExit(f"fastapi_service: {error}") from None
