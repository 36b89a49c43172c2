"""What people get to see: the live view, plain lines, the report."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from rich.live import Live

from slurp_leader.demo.checker import Reign
from slurp_leader.demo.picture import Leader, Recorded
from slurp_leader.demo.report import Report, Takeover, choose_samples
from slurp_leader.demo.scene import News, NodeLine, NodeState, Scene
from slurp_leader.demo.screens import LiveScreen, PlainScreen
from slurp_leader.demo.tables import print_report, to_markdown
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.result import ContextNode


def scene(nodes: int = 3, *, leader: Leader | None = None, vacant_s: float | None = None) -> Scene:
    states = [NodeState.LEADER if leader else NodeState.KILLED] + [NodeState.STANDBY] * (nodes - 1)
    return Scene(
        elapsed_s=7.25,
        total=240,
        accepted=150,
        recorded=96,
        waiting=50,
        running=4,
        rate=19.8,
        leader=leader,
        vacant_s=vacant_s,
        nodes=tuple(NodeLine(f"node-{n + 1}", 4_194_304, state, 96) for n, state in enumerate(states)),
        news=tuple(News(second / 10, f"something of some length happened to node-{second}") for second in range(12)),
        recent=tuple(
            Recorded("node-1", JobStatus.COMPLETED, "architect", f"src/a/long/path/to/file{n}.py", "What it is. " * 20)
            for n in range(4)
        ),
    )


def node(path: str, role: str, language: str, insight: str = "Line 3: `open` is called.") -> ContextNode:
    return ContextNode(
        path=path,
        role=role,
        language=language,
        ucxl_address=f"ucxl://any:{role}@any:any/*^/{path}",
        summary=f"What {path} is.",
        purpose="Why it is.",
        insights=(insight,),
        confidence=0.9,
    )


def report(*problems: str) -> Report:
    return Report(
        path="/somewhere/project",
        etcd="3.5.1",
        nodes=3,
        files=2,
        requests=240,
        completed=240,
        failed=0,
        lost=0,
        twice=0,
        interrupted=4,
        leaders=(Reign(3, "node-1", 1, 96), Reign(236, "node-2", 2, 144), Reign(400, "node-3", 3, 0)),
        takeovers=(Takeover("node-1", 4, "node-2", 2790.4, 2943.0),),
        jobs_per_s=19.9,
        working_s=12.1,
        problems=problems,
        news=(News(1.24, "node-1 leads"), News(6.26, "kill -9 4711", grave=True)),
        samples=(node("a.py", "developer", "Python"), node("b.go", "reviewer", "Go")),
    )


def drawn(shown: Scene, *, encoding: str = "utf-8") -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=80, height=24, force_terminal=True, color_system=None, legacy_windows=False)
    screen = LiveScreen(Live(console=console, auto_refresh=False), "slurp demo", "k: kill the leader now")
    with console.capture() as captured:
        console.print(screen.draw(shown))
    return captured.get().splitlines()


@pytest.mark.parametrize("nodes", [1, 3, 5, 9])
@pytest.mark.parametrize("leader", [None, Leader("node-1", 1, 3)])
def test_the_live_view_fits_into_80_columns_and_24_lines(nodes: int, leader: Leader | None) -> None:
    lines = drawn(scene(nodes, leader=leader, vacant_s=None if leader else 1.2))

    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 80


def test_the_live_view_says_who_leads_and_how_far_it_is() -> None:
    text = "\n".join(drawn(scene(leader=Leader("node-1", 1, 3))))

    assert "● node-1  leader" in text
    assert "epoch 1" in text
    assert "96/240 recorded" in text
    assert "4 running, 50 waiting   19.8 jobs/s" in text


def test_the_live_view_says_that_nobody_leads() -> None:
    text = "\n".join(drawn(scene(vacant_s=1.24)))

    assert "✗ node-1  kill -9" in text
    assert "no leader for 1.2 s" in text
    assert "4 cut off" in text


def test_the_live_view_draws_marks_and_frame_without_unicode_where_there_is_none() -> None:
    lines = drawn(scene(leader=Leader("node-1", 1, 3)), encoding="ascii")

    assert lines[0].startswith("+---")
    assert "* node-1  leader" in lines[1]


def test_plain_lines_tell_each_piece_of_news_once() -> None:
    stream = io.StringIO()
    screen = PlainScreen(stream)

    screen.show(scene())
    screen.show(scene())

    assert stream.getvalue().count("happened to node-3") == 1


def test_text_of_files_cannot_steer_the_terminal() -> None:
    hostile = Recorded("node-1", JobStatus.COMPLETED, "tester", "a\x1b[2J.py", "one\x07\ntwo \u202e three")
    sample = node("b\x1b[2J.py", "tester", "Python", insight="\x1b]0;title\x07")
    stream = io.StringIO()

    print_report(Console(file=stream, width=80), replace(report(), samples=(sample,)))
    shown = stream.getvalue() + to_markdown(replace(report(), samples=(sample,)))
    shown += "\n".join(drawn(replace(scene(), recent=(hostile,))))

    assert not set("\x1b\x07\u202e") & set(shown)
    assert "b\\x1b[2J.py" in shown


def test_the_report_ends_with_figures_and_verdict() -> None:
    stream = io.StringIO()
    print_report(Console(file=stream, width=80), report())
    lines = stream.getvalue().splitlines()

    assert lines[-1].strip() == "Nothing lost and nothing recorded twice, though the leader was killed."
    rows = {line[:25].strip(): line[25:].strip() for line in lines}
    assert rows["lost"] == "0"
    assert rows["recorded twice"] == "0"
    assert rows["time without a leader"] == "2,790 ms, first outcome after 2,943 ms"
    assert rows["leaders"] == "node-1 (96 recorded), then node-2 (144 recorded)"


def test_a_report_with_problems_names_them_and_praises_nothing() -> None:
    stream = io.StringIO()
    print_report(Console(file=stream, width=80), report("lost: 1 of 240 accepted jobs (x)"))

    assert "Nothing lost" not in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("lost: 1 of 240 accepted jobs (x)")


def test_the_json_report_holds_figures_verdict_and_samples() -> None:
    document = json.loads(report("something").to_json())

    assert document["ok"] is False
    assert document["problems"] == ["something"]
    assert document["leaders"][1] == {"token": 236, "node_id": "node-2", "epoch": 2, "outcomes": 144}
    assert document["takeovers"][0]["leaderless_ms"] == 2790.4
    assert document["samples"][0]["insights"] == ["Line 3: `open` is called."]


def test_the_markdown_report_holds_the_table_and_the_samples() -> None:
    text = to_markdown(report())

    assert "| recorded twice | 0 |" in text
    assert "### `b.go`" in text
    assert "- 6.26 s: kill -9 4711" in text


def test_samples_differ_in_file_role_and_language() -> None:
    nodes = [
        node("a.py", "developer", "Python"),
        node("a.py", "reviewer", "Python"),
        node("b.py", "developer", "Python"),
        node("c.go", "tester", "Go"),
        node("d.rs", "reviewer", "Rust"),
    ]

    chosen = choose_samples(nodes)

    assert len({each.path for each in chosen}) == 3
    assert len({each.role for each in chosen}) == 3
    assert choose_samples(reversed(nodes)) == chosen


def test_samples_prefer_findings_that_name_a_place() -> None:
    vague = node("a.py", "developer", "Python", insight="Nothing stands out.")
    concrete = node("z.py", "developer", "Python")

    assert choose_samples([vague, concrete], count=1) == (concrete,)
