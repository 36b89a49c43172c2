"""Who may import whom."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest

from architecture.source import ROOT, imports, trees

# Third-party client -> the folders that may import it. All others go through a port.
HOMES = {
    "etcd3": {"etcd"},
    "grpc": {"etcd", "guard"},  # the guard is a process of its own, which has no room for the adapter
    "google.protobuf": {"etcd"},
    "opentelemetry": {"otel"},
    "tree_sitter": {"generators"},
    "pygments": {"generators"},
    "psutil": {"resources"},
    "pydantic_settings": {"settings"},
    "typer": {"cli", "demo"},
    "rich": {"cli", "demo"},
}
CLOCKS = {
    "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "clock_gettime",
    "clock_gettime_ns", "sleep", "localtime", "gmtime", "now", "utcnow", "today",
}  # fmt: skip


def test_the_import_contract_holds() -> None:
    pytest.importorskip("importlinter", reason="import-linter is not installed (dependency group `lint`)")
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("client", HOMES)
def test_a_third_party_client_is_imported_in_its_adapter_only(client: str) -> None:
    elsewhere = [
        name
        for name, modules in imports().items()
        if name.split("/")[0] not in HOMES[client]
        for module in modules
        if module == client or module.startswith((f"{client}.", f"{client}_"))
    ]
    assert elsewhere == []


def test_only_one_module_reads_clocks() -> None:
    readers = {name: found for name, tree in trees().items() if (found := _clock_reads(tree))}
    assert list(readers) == ["clock.py"], readers


def _clock_reads(tree: ast.Module) -> list[str]:
    """Calls such as ``time.monotonic()`` or ``datetime.now()``, by whatever name the module was imported."""
    owners = {"time", "datetime", "date"}
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            owners |= {alias.asname for alias in node.names if alias.name in ("time", "datetime") and alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            names |= {alias.asname or alias.name for alias in node.names if alias.name in CLOCKS}
        elif isinstance(node, ast.ImportFrom) and node.module == "datetime":
            owners |= {alias.asname for alias in node.names if alias.asname}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS and _owner(node.value) in owners:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Name) and node.id in names:
            found.append(node.id)
    return found


def _owner(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
