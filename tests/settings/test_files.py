"""Settings files: what is read, what is refused, and that no secret gets out on the way."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from settings_files import write

from slurp_leader.errors import ConfigurationError
from slurp_leader.settings import ConfigurationWarning, SlurpSettings

Refusal = Callable[..., ConfigurationError]

TOML = """
[etcd]
endpoints = ["a:1", "b:2"]
username = "slurp"
password = "hunter2"
[election]
lease_ttl = 30
[jobs]
queue_bytes = "64MiB"
"""
YAML = """
etcd:
  endpoints: ["a:1", "b:2"]
  username: slurp
  password: hunter2
election:
  lease_ttl: 30
jobs:
  queue_bytes: 64MiB
node:
"""


def test_toml_and_yaml_say_the_same() -> None:
    toml = SlurpSettings.load(write(Path("a.toml"), TOML))
    for suffix in ("yaml", "yml", "YAML"):
        yaml = SlurpSettings.load(write(Path(f"a.{suffix}"), YAML))
        assert yaml == toml
        assert yaml.jobs.queue_bytes == 64 * 1024 * 1024


def test_an_empty_file_sets_nothing() -> None:
    for name in ("a.toml", "a.yaml"):
        assert set(SlurpSettings.load(write(Path(name), "# nothing\n")).origins().values()) == {"default"}


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert SlurpSettings.load(write(Path("a.toml"), '\ufeffnode.id = "a"')).node.id == "a"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.ini", "x", "its name must end in .toml, .yaml or .yml"),
        ("a", "x", "its name must end in .toml, .yaml or .yml"),
        ("a.toml", "[node]\nid = ", "not valid TOML"),
        ("a.toml", '[node]\nid = "a"\nid = "b"', "not valid TOML"),
        ("a.toml", "[node]\n[node]", "not valid TOML"),
        ("a.yaml", "node: [", "not valid YAML"),
        ("a.yaml", "node: {id: a}\nnode: {id: b}", "node stands there twice (at line 2"),
        ("a.yaml", "node: {id: a, id: b}", "id stands there twice"),
        ("a.yaml", "- node", "must hold sections"),
        ("a.yaml", "node", "must hold sections"),
        ("a.yaml", "1: {}", "every name must be text"),
        ("a.yaml", "node: {true: a}", "every name must be text"),
        ("a.yaml", "node: {id: 2024-13-45}", "cannot be read; put text in quotes"),
        ("a.yaml", "a: {}\n---\nb: {}", "not valid YAML"),
        ("a.yaml", "node: \x07", "characters that YAML does not allow"),
        ("a.yaml", "node: " + "[" * 50_000, "nested too deeply"),
        ("a.toml", "x = " + "[" * 50_000, "nested too deeply"),
        ("a.toml", "#" * 1_100_000, "larger than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(refusal_of: Refusal, name: str, content: str, said: str) -> None:
    error = refusal_of(write(Path(name), content))
    assert str(error).startswith(f"{name}: ")
    assert said in str(error)


def test_a_file_that_is_not_text_is_refused(refusal_of: Refusal) -> None:
    Path("a.toml").write_bytes(b"node.id = '\xff'")
    assert "not UTF-8 text" in str(refusal_of(Path("a.toml")))


def test_a_folder_is_no_settings_file(refusal_of: Refusal) -> None:
    Path("a.toml").mkdir()
    assert "not a regular file" in str(refusal_of(Path("a.toml")))


def test_a_pipe_is_refused_and_not_waited_for(refusal_of: Refusal) -> None:
    os.mkfifo("a.toml")
    assert "not a regular file" in str(refusal_of(Path("a.toml")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_refused(refusal_of: Refusal) -> None:
    write(Path("a.toml"), "").chmod(0)
    assert "cannot be read" in str(refusal_of(Path("a.toml")))


def test_yaml_builds_no_objects(refusal_of: Refusal) -> None:
    error = refusal_of(write(Path("a.yaml"), "node: !!python/object/apply:os.getcwd []"))
    assert "tags are not allowed" in str(error)


def test_yaml_aliases_cannot_fill_the_memory(refusal_of: Refusal) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    assert "aliases are not allowed" in str(refusal_of(write(Path("a.yaml"), bomb)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", "etcd:\n  password: !hunter2"),
        ("a.yaml", "etcd:\n  password: !hunter2!x y"),
        ("a.yaml", "etcd:\n  password: *hunter2"),
        ("a.yaml", 'etcd:\n  password: "hunter2'),
        ("a.yaml", "etcd:\n  password: hunter2\n bad"),
        ("a.yaml", "etcd:\n  password: [hunter2]"),
        ("a.yaml", "etcd: hunter2"),
        ("a.yaml", "etcd:\n  pasword: hunter2"),
        ("a.yaml", "etcd:\n  endpoints: ['http://root:hunter2@db:2379']"),
        ("a.yaml", "etcd:\n  endpoints: ['root:hunter2@db:2379']"),
        ("a.toml", "[etcd]\npassword = hunter2"),
        ("a.toml", '[etcd]\npassword = "hunter2'),
        ("a.toml", '[etcd]\npassword = ["hunter2"]'),
        ("a.toml", '[etcd]\npassword = "hunter2"\npassword = "hunter2"'),
        ("a.toml", '[etcd]\npassword = {hunter2 = "hunter2"}'),
        ("a.toml", "[etcd]\npassword = 271828"),
        ("a.yaml", "etcd:\n  password: 271828"),
    ],
)
def test_no_mistake_in_a_file_brings_its_secret_out(refusal_of: Refusal, name: str, content: str) -> None:
    error = refusal_of(write(Path(name), content))
    said = f"{error} {error!r} {error.problems} {error.__dict__}"
    assert "hunter2" not in said
    assert "271828" not in said
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("elction.name = 'x'", "elction (file a.toml): unknown setting; did you mean 'election'?"),
        ("election.nam = 'x'", "election.nam (file a.toml): unknown setting; did you mean 'name'?"),
        ("election.lease_ttl = 1", "election.lease_ttl = 1s (file a.toml): must be greater than or equal to 3 seconds"),
        ("jobs.workers = 'many'", "jobs.workers = 'many' (file a.toml): must be a valid integer"),
        ("jobs = 3", "jobs (file a.toml): must be a section with settings in it, not a single value"),
        ("logs.level = 'loud'", "logs.level = 'loud' (file a.toml): must be 'debug', 'info', 'warning', 'error' or"),
        ("generator.workspace_root = ''", "generator.workspace_root = '' (file a.toml): must be a path"),
        ("generator.workspace_root = 'a\\u0000'", "must be a path"),
        ("telemetry.metrics = 'perhaps'", "telemetry.metrics = 'perhaps' (file a.toml): must be a valid boolean"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place_and_the_fix(refusal_of: Refusal, content: str, said: str) -> None:
    content = content.replace("'", '"')
    error = refusal_of(write(Path("a.toml"), content))
    assert said in str(error)


def test_wrong_settings_of_all_sources_are_in_one_message(monkeypatch: pytest.MonkeyPatch, refusal_of: Refusal) -> None:
    monkeypatch.setenv("SLURP_JOBS__WORKERS", "0")
    error = refusal_of(write(Path("a.toml"), "election.lease_ttl = 1"), node={"id": "/"})
    assert [(problem.field, problem.origin) for problem in error.problems] == [
        ("node.id", "argument"),
        ("election.lease_ttl", "file a.toml"),
        ("jobs.workers", "environment SLURP_JOBS__WORKERS"),
    ]


def test_a_file_with_secrets_that_everybody_may_read_is_warned_of() -> None:
    file = write(Path("a.toml"), TOML)
    file.chmod(0o644)
    with pytest.warns(ConfigurationWarning, match=r"a\.toml holds etcd\.password, .*chmod 600") as caught:
        SlurpSettings.load(file)
    assert "hunter2" not in str(caught[0].message)


@pytest.mark.parametrize(("content", "mode"), [(TOML, 0o600), (TOML, 0o640), ('node.id = "a"', 0o644)])
def test_no_warning_without_a_secret_or_without_other_readers(content: str, mode: int) -> None:
    file = write(Path("a.toml"), content)
    file.chmod(mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SlurpSettings.load(file)


def test_loading_starts_no_thread_and_touches_no_etcd() -> None:
    before = set(threading.enumerate())
    SlurpSettings(etcd={"endpoints": ["nowhere.invalid:1"]})
    assert set(threading.enumerate()) == before
