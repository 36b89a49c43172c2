"""The run while it lasts: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from slurp_leader.demo.picture import Recorded
from slurp_leader.demo.scene import News, NodeLine, NodeState, Scene
from slurp_leader.telemetry.logs import printable

_NEWS_SHOWN = 6
_NODES_WITH_ALL_NEWS = 5
_LINE_EVERY_S = 2.0
_WIDEST = 100
_STYLES = {
    NodeState.LEADER: "bold green",
    NodeState.STANDBY: "cyan",
    NodeState.STARTING: "dim",
    NodeState.KILLED: "bold red",
}
_MARKS = {NodeState.LEADER: "●", NodeState.STANDBY: "○", NodeState.STARTING: "·", NodeState.KILLED: "✗"}
_PLAIN_MARKS = {NodeState.LEADER: "*", NodeState.STANDBY: "o", NodeState.STARTING: ".", NodeState.KILLED: "x"}


class PlainScreen:
    """Lines: all news, and every other second how far it is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told = 0
        self._next_s = _LINE_EVERY_S

    def show(self, scene: Scene) -> None:
        for news in scene.news[self._told :]:
            self._write(news.at_s, news.text)
        self._told = len(scene.news)
        if scene.accepted and scene.elapsed_s >= self._next_s:
            self._next_s = scene.elapsed_s + _LINE_EVERY_S
            self._write(scene.elapsed_s, progress_line(scene))

    def _write(self, at_s: float, text: str) -> None:
        self._stream.write(f"{at_s:6.2f} s  {text}\n")
        self._stream.flush()


def progress_line(scene: Scene) -> str:
    """How far it is, in one line."""
    leader = f"{scene.leader.node_id} leads" if scene.leader else "nobody leads"
    return f"{scene.recorded}/{scene.total} recorded, {queue_line(scene)}, {scene.rate:.1f} jobs/s, {leader}"


def queue_line(scene: Scene) -> str:
    """What is in the queue. Without a leader nothing runs: what was claimed is cut off until the next one."""
    return f"{scene.running} {'running' if scene.leader else 'cut off'}, {scene.waiting} waiting"


@dataclass
class LiveScreen:
    """A picture that is drawn anew about ten times a second. Fits into 80 columns and 24 lines."""

    live: Live
    title: str
    hint: str

    def show(self, scene: Scene) -> None:
        self.live.update(self.draw(scene), refresh=True)

    def draw(self, scene: Scene) -> RenderableType:
        """One scene."""
        ascii_only = self.live.console.options.ascii_only
        width = min(self.live.console.width, _WIDEST)
        parts = Group(
            _nodes(scene, _PLAIN_MARKS if ascii_only else _MARKS),
            Text(),
            _progress(scene, width),
            _figures(scene),
            Text(),
            _news(scene.news, _NEWS_SHOWN - max(0, len(scene.nodes) - _NODES_WITH_ALL_NEWS)),
            Text(),
            *(_context(one) for one in reversed(scene.recent)),
        )
        return Panel(
            parts,
            title=Text(self.title, style="bold"),
            subtitle=Text(f"{scene.elapsed_s:5.1f} s   {self.hint}", style="dim"),
            width=width,
            padding=(0, 1),
        )


@contextmanager
def live_screen(console: Console, title: str, hint: str) -> Iterator[LiveScreen]:
    """A live view, gone from the terminal afterwards, with the cursor back where it was."""
    with Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop") as live:
        yield LiveScreen(live, title, hint)


def _nodes(scene: Scene, marks: dict[NodeState, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for width in (8, 8, 8, 11, 13):  # fixed, so that nothing moves sideways when the leader changes
        table.add_column(min_width=width)
    for node in scene.nodes:
        table.add_row(*_node_cells(node, scene, marks))
    return table


def _node_cells(node: NodeLine, scene: Scene, marks: dict[NodeState, str]) -> list[Text]:
    style = _STYLES[node.state]
    epoch = f"epoch {scene.leader.epoch}" if scene.leader and node.state is NodeState.LEADER else ""
    return [
        Text(f"{marks[node.state]} {node.name}", style=style),
        Text("kill -9" if node.state is NodeState.KILLED else node.state.value, style=style),
        Text(epoch, style=style),
        Text(f"pid {node.pid}", style="dim"),
        Text(f"{node.recorded} recorded" if node.recorded else "", justify="right"),
    ]


def _progress(scene: Scene, width: int) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=max(10, width - 30))
    table.add_column(no_wrap=True)
    table.add_row(
        ProgressBar(scene.total, scene.recorded, complete_style="green", finished_style="bold green"),
        Text(f"{scene.recorded}/{scene.total} recorded", style="bold"),
    )
    return table


def _figures(scene: Scene) -> Text:
    if not scene.accepted:
        return Text("the nodes stand for election")
    line = Text(no_wrap=True, overflow="ellipsis")
    if scene.vacant_s is not None:
        line.append(f"no leader for {scene.vacant_s:.1f} s   ", style="bold yellow")
    line.append(f"{scene.accepted} accepted   {queue_line(scene)}")
    return line if scene.vacant_s is not None else line.append(f"   {scene.rate:.1f} jobs/s")


def _news(news: tuple[News, ...], shown: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim", no_wrap=True, min_width=7)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for one in news[-shown:]:
        table.add_row(f"{one.at_s:.2f} s", Text(one.text, style="bold red" if one.grave else ""))
    for _ in range(shown - len(news)):
        table.add_row("", "")  # the frame does not jump when there is more to tell
    return table


def _context(recorded: Recorded) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis", style="dim")
    line.append(f"{recorded.role:<10} ", style="magenta")
    line.append(f"{printable(recorded.path)}  ", style="cyan")
    return line.append(printable(recorded.summary))
