"""How a result looks to people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from slurp_leader.cli.output import Output, dump_json

if TYPE_CHECKING:
    from slurp_leader.jobs.result import ContextGenerationResult, ContextNode


def show_result(output: Output, result: ContextGenerationResult) -> None:
    """One result, as a person wants to read it."""
    node = result.node
    what = f"{node.path}, for {node.role}" if node else result.job_id
    how = ", from the cache" if result.cached else ""
    output.line(f"{what}: {result.status} in {format_seconds(result.duration_s)}{how}", style="bold")
    if node:
        show_node(output, node)
    else:
        output.block(dump_json(result.value))
    output.line()


def show_node(output: Output, node: ContextNode) -> None:
    """The context of one file."""
    output.fields(
        [
            ("summary", node.summary),
            ("purpose", node.purpose),
            ("language", f"{node.language}, {node.lines} lines"),
            ("technologies", ", ".join(node.technologies)),
            ("tags", ", ".join(node.tags)),
            ("confidence", f"{node.confidence:.2f}"),
            ("address", node.ucxl_address),
        ]
    )
    output.bullets(node.insights)


def show_value(output: Output, title: str, value: Any) -> None:
    """Any JSON under a title."""
    output.line(title, style="bold")
    output.block(dump_json(value))


def format_seconds(seconds: float) -> str:
    """A short time: ``3 ms``, ``1.2 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def format_age(seconds: float) -> str:
    """How long ago, in the largest unit that says something: ``12s``, ``5m``, ``3h``, ``9d``."""
    units: Iterable[tuple[int, str]] = ((86_400, "d"), (3_600, "h"), (60, "m"))
    for size, unit in units:
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"
