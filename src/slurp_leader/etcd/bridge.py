"""Loads etcd3 0.12 beside a current protobuf, without touching anything that belongs to the host program.

**Problem.** The generated modules of etcd3 (``etcd3.etcdrpc.kv_pb2``, ``auth_pb2``, ``rpc_pb2``) build their
descriptors in Python. protobuf 4 and newer refuse that ("Descriptors cannot be created directly"). Pinning an old
protobuf breaks today's OpenTelemetry exporters, and the environment variable that brings the old way back slows down
every protobuf user in the process.

**Choice.** Each of those modules also holds its descriptor in serialized form. While etcd3 is imported, a finder in
front of `sys.meta_path` answers for these three names only: it reads the serialized descriptor out of the installed
file (the text is parsed, never run), adds it to a *private* `DescriptorPool`, and makes the message classes from
there. All other modules of etcd3 are loaded as they are, and the finder is taken out again.

**What stays untouched.** The default descriptor pool, so another library may bring its own ``rpc.proto``; the
environment; and an etcd3 that the host imported earlier in a way that worked, which is then used as it is.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper

from slurp_leader.errors import ConfigurationError
from slurp_leader.forks import free_in_child

_GENERATED = ("etcd3.etcdrpc.kv_pb2", "etcd3.etcdrpc.auth_pb2", "etcd3.etcdrpc.rpc_pb2")
_NEEDED = ("etcd3.etcdrpc.kv_pb2", "etcd3.etcdrpc.rpc_pb2", "etcd3.etcdrpc.rpc_pb2_grpc")
_SERIALIZED = re.compile(r"serialized_pb=(?:_b\()?(b?'(?:[^'\\]|\\.)*')")
_INSTALL = "install etcd3==0.12.0"

_loading = free_in_child(threading.Lock())  # guards the moment in which our finder stands in sys.meta_path


@dataclass(frozen=True, slots=True)
class EtcdModules:
    """The modules of etcd3 that we use: the messages (`kv`, `rpc`) and the service stubs."""

    kv: Any
    rpc: Any
    stubs: Any


def load() -> EtcdModules:
    """Import etcd3, or take the one the host has imported already.

    Raises:
        ConfigurationError: etcd3 is missing, is not version 0.12, or another distribution was installed over it.
    """
    with _loading:
        if not all(name in sys.modules for name in _NEEDED):
            _refuse_foreign_package()
            _import_under_finder()
        kv, rpc, stubs = (sys.modules[name] for name in _NEEDED)
        return EtcdModules(kv, rpc, stubs)


def _refuse_foreign_package() -> None:
    spec = importlib.util.find_spec("etcd3")
    if spec is None:
        raise ConfigurationError(f"the package etcd3 is missing: {_INSTALL}")
    try:
        other = importlib.metadata.distribution("etcd3-py")
    except importlib.metadata.PackageNotFoundError:
        return
    # Both put their files into a folder named etcd3, silently, one over the other.
    folders = [str(folder) for folder in spec.submodule_search_locations or ()]
    if str(other.locate_file("etcd3")) in folders:
        raise ConfigurationError(
            "the distribution etcd3-py is installed over etcd3 (both use the folder 'etcd3'): "
            f"uninstall both, then {_INSTALL}"
        )


def _import_under_finder() -> None:
    finder = _GeneratedModules()
    sys.meta_path.insert(0, finder)
    try:
        for name in _NEEDED:
            importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(f"etcd3 cannot be imported ({error}): {_INSTALL}") from error
    finally:
        sys.meta_path.remove(finder)


class _GeneratedModules(MetaPathFinder):
    """Finds the three generated modules, and hands them to a loader that does not run them."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.DescriptorPool()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _GENERATED:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or not isinstance(spec.loader, InspectLoader):
            return None
        spec.loader = _FromDescriptor(spec.loader, self._pool)
        return spec


class _FromDescriptor(Loader):
    """Fills a module with the message classes of the descriptor found in its source."""

    def __init__(self, installed: InspectLoader, pool: descriptor_pool.DescriptorPool) -> None:
        self._installed = installed
        self._pool = pool

    def exec_module(self, module: ModuleType) -> None:
        # Importing the dependencies first puts their descriptors into the pool.
        for name in _GENERATED[: _GENERATED.index(module.__name__)]:
            importlib.import_module(name)
        source = self._installed.get_source(module.__name__) or ""
        populate(module, serialized_descriptor(source, module.__name__), self._pool)


def serialized_descriptor(source: str, name: str) -> bytes:
    """Read the serialized file descriptor out of the text of a generated module.

    Raises:
        ImportError: The text is not of the form that protoc wrote for etcd3 0.12.
    """
    match = _SERIALIZED.search(source)
    if match is None:
        raise ImportError(f"no serialized descriptor in {name}", name=name)
    literal = ast.literal_eval(match.group(1))
    return literal if isinstance(literal, bytes) else literal.encode("latin-1")


def populate(module: ModuleType, serialized: bytes, pool: descriptor_pool.DescriptorPool) -> None:
    """Give a module what protoc would have generated: messages, enums, enum values, and DESCRIPTOR."""
    pool.AddSerializedFile(serialized)
    file = pool.FindFileByName(module.__name__.rpartition(".")[2].removesuffix("_pb2") + ".proto")
    names: dict[str, object] = {"DESCRIPTOR": file}
    for name, message in file.message_types_by_name.items():
        names[name] = message_factory.GetMessageClass(message)
    for name, enum in file.enum_types_by_name.items():
        names[name] = enum_type_wrapper.EnumTypeWrapper(enum)
        names.update({value.name: value.number for value in enum.values})
    vars(module).update(names)
