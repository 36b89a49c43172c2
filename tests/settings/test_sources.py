"""Which source wins, and who is told to have won."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from settings_files import write

from slurp_leader.election.options import ElectionOptions
from slurp_leader.errors import ConfigurationError
from slurp_leader.settings import SlurpSettings

Refusal = Callable[..., ConfigurationError]


def test_without_any_source_the_defaults_hold() -> None:
    settings = SlurpSettings()
    assert settings.etcd.endpoints == ["localhost:2379"]
    assert settings.file is None
    assert set(settings.origins().values()) == {"default"}


def test_each_source_gives_way_to_the_one_above_it(
    monkeypatch: pytest.MonkeyPatch, empty_world: Path, secrets_folder: Path
) -> None:
    """Sources are taken away one by one, the strongest first; each time the next one shows."""
    monkeypatch.setenv("BZZZ_AGENT_ID", "from-bzzz")
    file = write(empty_world / "slurp.toml", 'node.id = "from-file"')
    secret = write(secrets_folder / "node__id", "from-secret\n")
    monkeypatch.setenv("SLURP_NODE__ID", "from-environment")

    def won(**sections: object) -> tuple[str, str]:
        settings = SlurpSettings(**sections)
        return settings.node.id, settings.origin("node.id")

    assert won(node={"id": "from-argument"}) == ("from-argument", "argument")
    assert won() == ("from-environment", "environment SLURP_NODE__ID")
    monkeypatch.delenv("SLURP_NODE__ID")
    assert won() == ("from-secret", f"secret {secret}")
    secret.unlink()
    assert won() == ("from-file", "file slurp.toml")
    file.unlink()
    assert won() == ("from-bzzz", "environment BZZZ_AGENT_ID")
    monkeypatch.delenv("BZZZ_AGENT_ID")
    assert won()[1] == "default"


def test_sources_are_merged_field_by_field(monkeypatch: pytest.MonkeyPatch, empty_world: Path) -> None:
    write(empty_world / "slurp.toml", "[jobs]\nworkers = 7\nmax_attempts = 9")
    monkeypatch.setenv("SLURP_JOBS__MAX_ATTEMPTS", "5")
    settings = SlurpSettings(jobs={"timeout": "1m"})
    assert (settings.jobs.workers, settings.jobs.max_attempts, settings.jobs.timeout_s) == (7, 5, 60)
    assert settings.origin("jobs.workers") == "file slurp.toml"
    assert settings.origin("jobs.max_attempts") == "environment SLURP_JOBS__MAX_ATTEMPTS"
    assert settings.origin("jobs.timeout") == "argument"
    assert settings.origin("jobs.drain_timeout") == "default"


def test_ready_made_options_replace_their_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURP_ELECTION__NAME", "from-environment")
    options = ElectionOptions(lease_ttl=timedelta(seconds=3))
    settings = SlurpSettings(election=options)
    assert settings.election == options
    assert settings.origin("election.name") == "argument"


def test_the_file_that_is_named_comes_before_all_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of several files one is read, and none is merged with another."""
    home = Path(os.environ["HOME"])
    places = {
        "named": write(tmp_path / "named.yaml", "node: {id: named}"),
        "variable": write(tmp_path / "variable.toml", 'node.id = "variable"'),
        "working-folder": write(Path("slurp.toml"), 'node.id = "working-folder"'),
        "xdg": write(tmp_path / "xdg" / "slurp" / "config.toml", 'node.id = "xdg"'),
        "home": write(home / ".config" / "slurp" / "config.toml", 'node.id = "home"'),
    }
    monkeypatch.setenv("SLURP_CONFIG_FILE", str(places["variable"]))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))

    named = SlurpSettings.load(places["named"])
    assert (named.node.id, named.file) == ("named", places["named"])
    assert SlurpSettings.load().node.id == "variable"
    monkeypatch.setenv("SLURP_CONFIG_FILE", "")
    assert SlurpSettings.load().node.id == "working-folder"
    places["working-folder"].unlink()
    assert SlurpSettings.load().node.id == "xdg"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert SlurpSettings.load().node.id == "home"


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch, refusal_of: Refusal) -> None:
    assert "nowhere.toml does not exist" in str(refusal_of(Path("nowhere.toml")))
    monkeypatch.setenv("SLURP_CONFIG_FILE", "gone.toml")
    assert str(refusal_of()).startswith("SLURP_CONFIG_FILE: gone.toml does not exist")


def test_a_dotenv_file_is_not_read() -> None:
    write(Path(".env"), "SLURP_NODE__ID=from-dotenv")
    assert SlurpSettings().node.id != "from-dotenv"


@pytest.mark.parametrize("text", ["a:1,b:2", " a:1 , b:2, ", '["a:1", "b:2"]'])
def test_a_list_in_a_variable_is_written_with_commas_or_as_json(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", text)
    assert SlurpSettings().etcd.endpoints == ["a:1", "b:2"]


def test_a_list_of_names_is_read_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURP_NODE__CAPABILITIES", "gpu,llm")
    monkeypatch.setenv("SLURP_ELECTION__REQUIRES", "GPU, llm")
    settings = SlurpSettings()
    assert settings.node.capabilities == settings.election.requires == ("gpu", "llm")


def test_a_broken_json_list_is_an_error_of_its_field(monkeypatch: pytest.MonkeyPatch, refusal_of: Refusal) -> None:
    monkeypatch.setenv("SLURP_NODE__CAPABILITIES", '["gpu"')
    assert refusal_of().field == "node.capabilities"


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("SLURP_ELECTION__LEASE_TTL", "30", "lease_ttl_s", 30),
        ("SLURP_ELECTION__LEASE_TTL", "1m", "lease_ttl_s", 60),
        ("slurp_election__name", "lower-case", "name", "lower-case"),
    ],
)
def test_a_variable_is_text_and_is_read_as_its_field_says(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, name: str, value: object
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(SlurpSettings().election, name) == value


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURP_ELECTION__NAME", "")
    monkeypatch.setenv("BZZZ_AGENT_ID", "")
    assert SlurpSettings().election.name == "slurp"


@pytest.mark.parametrize(
    ("variable", "advice"),
    [
        ("SLURP_ETCD__ENDPOINT", "did you mean 'SLURP_ETCD__ENDPOINTS'?"),
        ("SLURP_ECTD__ENDPOINTS", "did you mean 'SLURP_ETCD__ENDPOINTS'?"),
        ("SLURP_ELECTION__LEASE__TTL", "did you mean 'SLURP_ELECTION__LEASE_TTL'?"),
        ("SLURP_ETCD__PASSWORD__X", "did you mean 'SLURP_ETCD__PASSWORD'?"),
        ("SLURP_QQQQ__ZZZZ", "sections are breaker, election, etcd, generator, health, jobs, logs, node, telemetry"),
        ("SLURP_NODE__", "no such setting"),
    ],
)
def test_a_variable_that_matches_no_field_is_an_error_with_advice(
    monkeypatch: pytest.MonkeyPatch, refusal_of: Refusal, variable: str, advice: str
) -> None:
    monkeypatch.setenv(variable, "hunter2")
    text = str(refusal_of())
    assert text.startswith(f"{variable}: no such setting")
    assert advice in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "variable", ["SLURP_ETCD", "SLURP_HOME", "SLURP_ETCD_SERVICE_HOST", "SLURPY__X", "NOT_SLURP__X"]
)
def test_variables_that_are_not_meant_for_us_are_left_alone(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "something")
    assert SlurpSettings().etcd.endpoints == ["localhost:2379"]


def test_bzzz_variables_set_id_and_log_level_where_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BZZZ_AGENT_ID", "agent-7")
    monkeypatch.setenv("BZZZ_LOG_LEVEL", "WARN")
    settings = SlurpSettings()
    assert (settings.node.id, settings.logs.level) == ("agent-7", "warning")


def test_secrets_are_files_named_after_section_and_field(secrets_folder: Path) -> None:
    write(secrets_folder / "etcd__username", "slurp\r\n")
    write(secrets_folder / "ETCD__PASSWORD", "hunter2\n")
    write(secrets_folder / "README", "not ours")
    write(secrets_folder / "other__thing", "not ours either")
    write(secrets_folder / ".hidden__x", "of the platform")
    (secrets_folder / "etcd__folder").mkdir()
    settings = SlurpSettings()
    assert settings.etcd.username == "slurp"
    assert settings.etcd.password is not None
    assert settings.etcd.password.get_secret_value() == "hunter2"


def test_a_secret_that_is_a_link_is_followed_as_mounted_volumes_need_it(secrets_folder: Path) -> None:
    real = write(secrets_folder / "..data" / "id", "linked")
    (secrets_folder / "node__id").symlink_to(real)
    assert SlurpSettings().node.id == "linked"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("etcd__pasword", b"hunter2", "etcd.pasword (secret"),
        ("etcd__pasword", b"hunter2", "did you mean 'password'?"),
        ("etcd__password", b"\n", "must be text and not empty"),
        ("etcd__password", b"hunter2\xff", "must be text and not empty"),
        ("etcd__password", b"hunter2" * 20_000, "larger than 64 KiB"),
    ],
)
def test_a_secret_file_that_cannot_be_meant_is_an_error(
    secrets_folder: Path, refusal_of: Refusal, name: str, content: bytes, said: str
) -> None:
    (secrets_folder / name).write_bytes(content)
    error = refusal_of()
    assert said in str(error)
    assert "hunter2" not in str(error)


def test_a_secrets_folder_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch, refusal_of: Refusal) -> None:
    monkeypatch.setenv("SLURP_SECRETS_DIR", "gone")
    assert str(refusal_of()).startswith("SLURP_SECRETS_DIR: gone cannot be read")


def test_the_origin_of_a_field_that_does_not_exist_is_an_error() -> None:
    settings = SlurpSettings()
    with pytest.raises(ConfigurationError, match=r"etcd\.endpoint: no such setting; did you mean 'etcd\.endpoints'\?"):
        settings.origin("etcd.endpoint")
    with pytest.raises(ConfigurationError, match="etcd: no such setting"):
        settings.origin("etcd")


def test_settings_reach_another_process_as_they_are() -> None:
    settings = SlurpSettings(election={"name": "x"})
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings
    assert again.origin("election.name") == "argument"


def test_threads_that_load_at_the_same_time_do_not_mix_their_files(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{number}.toml", f'node.id = "n{number}"') for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(SlurpSettings.load, files))
    assert [settings.node.id for settings in loaded] == [f"n{number}" for number in range(40)]
