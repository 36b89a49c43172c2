"""Members of etcd, each in a container of its own, with its client port on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from containers.engine import LABEL

_CLIENT, _PEER = 2379, 2380


@dataclass(frozen=True)
class Member:
    """One running member."""

    name: str
    endpoint: str
    container: Any

    def pause(self) -> None:
        """Freeze it: the kernel still takes connections for it, nothing answers."""
        self.container.pause()

    def unpause(self) -> None:
        self.container.unpause()

    def kill(self) -> None:
        """SIGKILL: connections break, new ones are refused."""
        self.container.kill()


@contextmanager
def cluster(image: str, size: int) -> Iterator[tuple[Member, ...]]:
    """Start members that form one cluster; remove them in the end. They may not serve yet."""
    from testcontainers.core.network import Network

    labels = {LABEL: str(os.getpid())}
    names = [f"etcd-{number}" for number in range(1, size + 1)]
    with ExitStack() as stack:
        network = stack.enter_context(Network(docker_network_kw={"labels": labels}))
        yield tuple(_start(stack, image, network, name, names, labels) for name in names)


def _start(
    stack: ExitStack, image: str, network: Any, name: str, names: Sequence[str], labels: dict[str, str]
) -> Member:
    from testcontainers.core.container import DockerContainer

    container = (
        DockerContainer(image)
        .with_command(_arguments(name, names))
        .with_network(network)
        .with_network_aliases(name)
        .with_kwargs(labels=labels)
    )
    # Any free port, on loopback alone: testcontainers itself would publish it to the whole network.
    container.ports[f"{_CLIENT}/tcp"] = ("127.0.0.1", None)  # type: ignore[assignment]
    stack.callback(_remove, container)
    container.start()
    endpoint = f"{container.get_container_host_ip()}:{container.get_exposed_port(_CLIENT)}"
    return Member(name, endpoint, container.get_wrapped_container())


def _remove(container: Any) -> None:
    with suppress(Exception):  # one that did not start has nothing to remove; the sweep finds the rest
        container.stop()


def _arguments(name: str, names: Sequence[str]) -> list[str]:
    peers = ",".join(f"{each}=http://{each}:{_PEER}" for each in names)
    return [
        f"--name={name}",
        f"--listen-client-urls=http://0.0.0.0:{_CLIENT}",
        f"--advertise-client-urls=http://{name}:{_CLIENT}",
        f"--listen-peer-urls=http://0.0.0.0:{_PEER}",
        f"--initial-advertise-peer-urls=http://{name}:{_PEER}",
        f"--initial-cluster={peers}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]
