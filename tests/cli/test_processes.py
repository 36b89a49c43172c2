"""The program as a process: signals, pipes, locales, what it loads, what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.etcd.ports import is_listener
from support.waiting import WAIT_S

PROGRAM = (sys.executable, "-c", "import sys; from slurp_leader.cli import main; sys.exit(main())")
QUICK = ("--heartbeat-interval=50", "--election-timeout=300")
Start = Callable[..., subprocess.Popen[str]]


def finish(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=WAIT_S, stdin=subprocess.DEVNULL, **options
    )


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the program in the background; ends it after the test."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
            preexec_fn=_hear_hangups,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        with suppress(psutil.NoSuchProcess):
            for each in psutil.Process(process.pid).children(recursive=True):  # they would keep the pipes open
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        process.kill()
        process.communicate(timeout=WAIT_S)


def _hear_hangups() -> None:
    """Tests may run under `nohup`, and a program that is started with a signal ignored leaves it ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def read_until(stream: Any, word: str) -> str:
    """Read lines up to the one with `word` in it. The test's own time limit ends a wait in vain."""
    for line in stream:
        if word in line:
            return str(line)
    raise AssertionError(f"it ended without saying {word!r}")


# ---------------------------------------------------------------- run


@pytest.mark.etcd
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_node_hands_back_and_ends_on_the_first_signal(
    start: Start, cluster: str, workspace: Path, number: signal.Signals, code: int
) -> None:
    node = start("run")
    read_until(node.stderr, "state=leader")
    with SlurpLeaderSystem(candidate=False) as client:
        assert client.submit("greet.py").result(WAIT_S).success
        node.send_signal(number)
        _, said = node.communicate(timeout=WAIT_S)
        assert node.returncode == code
        assert "stopping" in said
        assert "clean=True" in said
        # Given back, not left to run out: the election is vacant at once.
        assert client.leader.get(WAIT_S) is None


_SLOW = """\
import threading
def generate(request, job):
    print("running", flush=True)
    threading.Event().wait()
"""


@pytest.mark.etcd
def test_a_second_signal_ends_a_node_at_once(start: Start, cluster: str) -> None:
    Path("slow_service.py").write_text(_SLOW)
    node = start("run", "--app", "slow_service:generate")
    with SlurpLeaderSystem(candidate=False) as client:
        client.submit("greet.py")
        read_until(node.stdout, "running")
        node.send_signal(signal.SIGTERM)
        read_until(node.stderr, "stopping")
        node.send_signal(signal.SIGTERM)
        node.communicate(timeout=WAIT_S)
        assert node.returncode == 143


_SERVICE = """\
from slurp_leader import SlurpLeaderSystem
class Shouter:
    def generate(self, request, job):
        return request.file_path.upper()
generator = Shouter()
system = SlurpLeaderSystem(generator=generator)
"""


@pytest.mark.etcd
@pytest.mark.parametrize("attribute", ["generator.generate", "system"])
def test_run_serves_a_generator_or_a_system_of_a_module_in_the_working_directory(
    start: Start, cluster: str, attribute: str
) -> None:
    Path("my_service.py").write_text(_SERVICE)
    node = start("run", "--app", f"my_service:{attribute}")
    read_until(node.stderr, "state=leader")
    with SlurpLeaderSystem(candidate=False) as client:
        assert client.submit("greet.py").result(WAIT_S).value == "GREET.PY"


@pytest.mark.etcd
def test_a_second_node_with_the_same_id_is_told_so_in_the_log(
    start: Start, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SlurpLeaderSystem(SlurpSettings(node={"id": "twin"})) as first:
        assert first.wait_for_leadership(WAIT_S)
        monkeypatch.setenv("SLURP_NODE__ID", "twin")
        second = start("run")
        assert "give each node its own node.id" in read_until(second.stderr, "election.duplicate_node")


def test_a_node_goes_on_while_etcd_is_not_there(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", "127.0.0.1:9")
    node = start("run")
    assert "etcd.endpoints" in read_until(node.stderr, "trying on")
    assert node.poll() is None
    node.send_signal(signal.SIGTERM)
    node.communicate(timeout=WAIT_S)
    assert node.returncode == 143


@pytest.mark.etcd
def test_a_node_that_lost_etcd_for_good_ends_and_says_why(
    start: Start, monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    with EtcdProcess(extra_args=QUICK) as first:
        monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", first.endpoint)
        node = start("run")
        read_until(node.stderr, "state=leader")
        port = int(first.endpoint.rpartition(":")[2])
    with EtcdProcess(extra_args=QUICK, client_port=port):  # another cluster at the same address
        _, said = node.communicate(timeout=WAIT_S)
    assert node.returncode == 69
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("slurp: another etcd cluster answers")


@pytest.mark.etcd
def test_a_program_whose_etcd_was_replaced_is_ended_and_why_is_said_in_the_log_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EtcdProcess(extra_args=QUICK) as first:
        monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", first.endpoint)
        lead = start("lead", "--", "sleep", "1000")
        read_until(lead.stderr, "state=leader")
        port = int(first.endpoint.rpartition(":")[2])
    with EtcdProcess(extra_args=QUICK, client_port=port):
        _, said = lead.communicate(timeout=WAIT_S)
    ended = "slurp: the election ended, and no work was done to its end: another etcd cluster answers: id "
    assert lead.returncode == 1
    assert said.splitlines()[-1].startswith(ended)
    assert said.count("election.ended") + said.count("fatal=True") == 1


@pytest.mark.etcd
def test_settings_decide_how_a_node_logs(start: Start, cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURP_LOGS__FORMAT", "json")
    monkeypatch.setenv("SLURP_TELEMETRY__EXPORTER", "console")
    node = start("run")
    entry = json.loads(read_until(node.stderr, "system.started"))
    assert entry["event"] == "system.started"
    read_until(node.stderr, '"leader"')
    node.send_signal(signal.SIGINT)
    _, rest = node.communicate(timeout=WAIT_S)
    assert "slurp.election.transitions" in rest  # what was measured is sent off at the end


# ---------------------------------------------------------------- etcd dev


@pytest.mark.etcd
def test_etcd_dev_serves_until_a_signal_and_leaves_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    etcd = start("etcd", "dev", "--port", "0", "--json")
    assert etcd.stdout is not None
    described = json.loads(etcd.stdout.readline())
    port = int(described["endpoint"].rpartition(":")[2])
    assert is_listener(described["pid"], port)
    monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", described["endpoint"])
    assert json.loads(finish("status", "--json").stdout)["leader"] is None
    etcd.send_signal(signal.SIGTERM)
    etcd.communicate(timeout=WAIT_S)
    assert etcd.returncode == 143
    assert not Path(described["data_dir"]).exists()
    assert not Path(f"/proc/{described['pid']}").exists()


@pytest.mark.etcd
def test_etcd_dev_prints_a_line_for_other_shells_and_keeps_data_where_told(start: Start) -> None:
    etcd = start("etcd", "dev", "--port", "0", "--data-dir", "kept")
    assert read_until(etcd.stdout, "export").startswith("export SLURP_ETCD__ENDPOINTS=127.0.0.1:")
    etcd.send_signal(signal.SIGINT)
    etcd.communicate(timeout=WAIT_S)
    assert etcd.returncode == 130
    assert (Path("kept") / "member-data").exists()


@pytest.mark.etcd
def test_etcd_dev_says_so_when_the_usual_port_is_taken(start: Start) -> None:
    with socket.socket() as neighbour:
        neighbour.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of what ended there a moment ago
        with suppress(OSError):  # somebody has it already, which is as good
            neighbour.bind(("127.0.0.1", 2379))
            neighbour.listen()
        etcd = start("etcd", "dev", "--json")
        assert etcd.stdout is not None
        endpoint = json.loads(etcd.stdout.readline())["endpoint"]
    assert not endpoint.endswith(":2379")
    assert etcd.stderr is not None
    assert "port 2379 is taken" in etcd.stderr.readline()
    read_until(etcd.stderr, "run the line above")
    etcd.send_signal(signal.SIGTERM)
    etcd.communicate(timeout=WAIT_S)


@pytest.mark.etcd
def test_etcd_dev_refuses_a_port_that_is_taken(etcd_endpoint: str) -> None:
    result = finish("etcd", "dev", "--port", etcd_endpoint.rpartition(":")[2])
    assert result.returncode == 78
    assert "taken" in result.stderr
    assert "Traceback" not in result.stderr


# ---------------------------------------------------------------- streams


def test_a_reader_that_has_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [*PROGRAM, "config", "schema"], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=WAIT_S
        )
    finally:
        os.close(writer)
    assert result.stderr == ""
    assert result.returncode == 141


def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*PROGRAM, "config", "show"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=WAIT_S
        )
    assert result.returncode == 1
    assert result.stderr.startswith("slurp: ")
    assert "No space left" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_ascii_terminal_and_names_that_are_not_utf8_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}.items():
        monkeypatch.setenv(name, value)
    assert finish("--help").returncode == 0
    assert finish("config", "init", "-").returncode == 0
    result = subprocess.run([*PROGRAM, b"submit", b"caf\xe9.py", b"--json"], capture_output=True, timeout=WAIT_S)
    assert b"Traceback" not in result.stderr
    json.loads(result.stdout)


@pytest.mark.etcd
def test_ctrl_c_while_watching_exits_with_130_in_silence(start: Start, cluster: str) -> None:
    watching = start("leader", "watch", "--json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["leader"] is None
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=WAIT_S)
    assert (watching.returncode, said) == (130, "")


@pytest.mark.etcd
def test_ctrl_c_while_waiting_says_that_the_jobs_go_on(start: Start, cluster: str) -> None:
    waiting = start("submit", "greet.py", "--wait")
    read_until(waiting.stderr, "nobody leads")
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=WAIT_S)
    assert waiting.returncode == 130
    assert said.startswith("slurp: waits no more; the jobs go on: `slurp jobs wait 0")


# ---------------------------------------------------------------- what it loads


_HEAVY = {"grpc", "etcd3", "opentelemetry", "google.protobuf", "pydantic", "tree_sitter", "yaml", "asyncio"}


@pytest.mark.parametrize("code", ["import slurp_leader", "from slurp_leader.cli import main; main(['--help'])"])
def test_help_and_import_load_nothing_heavy(code: str) -> None:
    show = f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, timeout=WAIT_S)
    loaded = set(result.stderr.split())
    assert "slurp_leader" in loaded
    assert not loaded & _HEAVY


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_one_line_says_how_to_get_it(missing: str) -> None:
    hide = f"""
import importlib.util as util, sys
real = util.find_spec
util.find_spec = lambda name, *rest: None if name == {missing!r} else real(name, *rest)
from slurp_leader.cli import main
sys.exit(main(["status"]))
"""
    result = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, timeout=WAIT_S)
    assert result.returncode == 1
    assert result.stderr == f"slurp: {missing} not installed; pip install 'slurp-leader[cli]'\n"


def test_a_traceback_is_shown_to_who_asks_for_it_and_to_nobody_else() -> None:
    assert "Traceback" not in finish("status", "--config", "nowhere.toml").stderr
    assert "Traceback" in finish("status", "--config", "nowhere.toml", "-vv").stderr


def test_the_installed_command_tells_its_version() -> None:
    from slurp_leader import __version__

    assert finish("--version").stdout == f"slurp-leader {__version__}\n"
