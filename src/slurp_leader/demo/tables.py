"""The report, set: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from slurp_leader.demo.report import INSIGHTS_SHOWN, TTL_NOTE, Report, Takeover
from slurp_leader.jobs.result import ContextNode
from slurp_leader.telemetry.logs import printable

_WIDEST = 100


def figures(report: Report) -> Iterator[tuple[str, str]]:
    """The rows of the table: what, and how much."""
    yield "requests accepted", f"{report.requests}, about {report.files} files"
    yield "completed", f"{report.completed}"
    yield "failed", f"{report.failed}"
    yield "lost", f"{report.lost}"
    yield "recorded twice", f"{report.twice}"
    yield "interrupted and run again", f"{report.interrupted}"
    # Another one may be elected for a moment while the nodes stop, one after the other.
    working = [reign for reign in report.leaders if reign.outcomes]
    yield "leaders", ", then ".join(f"{reign.node_id} ({reign.outcomes} recorded)" for reign in working)
    for takeover in report.takeovers:
        yield "time without a leader", _without_leader(takeover)
    yield "jobs/s", f"{report.jobs_per_s:.1f} over {report.working_s:.1f} s"


def _without_leader(takeover: Takeover) -> str:
    if takeover.leaderless_ms is None:
        return f"nobody followed {takeover.killed}"
    work = "" if takeover.idle_ms is None else f", first outcome after {takeover.idle_ms:,.0f} ms"
    return f"{takeover.leaderless_ms:,.0f} ms{work}"


def verdict_line(report: Report) -> str:
    """The verdict in one sentence."""
    if report.problems:
        return "Not as promised."
    if report.takeovers:
        return "Nothing lost and nothing recorded twice, though the leader was killed."
    return "Nothing lost and nothing recorded twice."


# ---------------------------------------------------------------- on a terminal


def print_report(console: Console, report: Report) -> None:
    """Samples first, figures and verdict last: what scrolls away is what can be missed."""
    width = min(console.width, _WIDEST)
    for node in report.samples:
        console.print(_sample(node), width=width)
        console.print()
    console.print(_table(report), width=width)
    if report.takeovers:
        console.print(Text(TTL_NOTE, style="dim"), width=width)
    console.print(Text(verdict_line(report), style="bold green" if report.ok else "bold red"), width=width)
    for problem in report.problems:
        console.print(Text(f"  {printable(problem)}", style="red"), width=width)


def _table(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    bad = {"failed": report.failed, "lost": report.lost, "recorded twice": report.twice}
    for name, value in figures(report):
        table.add_row(name, Text(value, style="bold red" if bad.get(name) else "bold"))
    return table


def _sample(node: ContextNode) -> RenderableType:
    head = Text(printable(node.path), style="bold cyan")
    head.append(f"  {node.language}, role {node.role}, confidence {node.confidence:.2f}", style="dim")
    lines: list[RenderableType] = [head, Padding(Text(printable(node.summary)), (0, 0, 0, 2))]
    for insight in node.insights[:INSIGHTS_SHOWN]:
        row = Table.grid(padding=(0, 1))
        row.add_row("-", Text(printable(insight)))
        lines.append(Padding(row, (0, 0, 0, 2)))
    return Group(*lines)


# ---------------------------------------------------------------- Markdown


def to_markdown(report: Report) -> str:
    """The whole report, for reading and for keeping."""
    lines = ["# slurp demo", "", verdict_line(report), ""]
    lines += [f"- {_plain(problem)}" for problem in report.problems]
    lines += [f"{report.nodes} nodes on etcd {report.etcd}, working on `{_plain(report.path)}`.", ""]
    lines += ["| what | figure |", "|---|---|", *(f"| {name} | {value} |" for name, value in figures(report)), ""]
    lines += [TTL_NOTE, ""] if report.takeovers else []
    lines += ["## What happened", "", *(f"- {news.at_s:.2f} s: {news.text}" for news in report.news), ""]
    lines += ["## Three of the contexts", ""]
    for node in report.samples:
        lines += [f"### `{_plain(node.path)}`", "", f"{node.language}, role {node.role}: {_plain(node.summary)}", ""]
        lines += [_plain(node.purpose), "", *(f"- {_plain(insight)}" for insight in node.insights), ""]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return printable(text).replace("<", "&lt;").replace("|", "\\|")
