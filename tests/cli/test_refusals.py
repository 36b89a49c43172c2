"""Bad input, bad settings, an etcd that is not there, silent or unwilling: one line, the right code, in time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from etcd.conftest import Certificates, certificates
from slurp_leader.cli import options, waiting
from slurp_leader.etcd.local import EtcdProcess, LocalTls, find_etcd
from support.etcd import EtcdOperator

from .conftest import Slurp

__all__ = ["certificates"]

QUICK = ("--heartbeat-interval=50", "--election-timeout=300")
NOBODY = "127.0.0.1:9"
"""The discard port: nothing listens there."""


def is_one_line(text: str) -> bool:
    return text.startswith("slurp: ") and text.count("\n") == 1


# ---------------------------------------------------------------- etcd

TALKERS: list[tuple[str, ...]] = [
    ("status",),
    ("jobs", "ls"),
    ("leader", "show"),
    ("leader", "watch"),
    ("submit", "a.py"),
    ("submit", "a.py", "--wait"),
    ("jobs", "wait", "01a208d6-957d-7000-8355-cafd07bc6911"),
]


@pytest.mark.parametrize("command", TALKERS, ids=" ".join)
def test_an_unreachable_etcd_is_said_in_one_line(
    slurp: Slurp, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", NOBODY)
    result = slurp(*command, "--timeout", 1, "--json")
    assert result.code == 69
    assert is_one_line(result.err)
    assert "slurp etcd dev" in result.err
    assert result.error["type"] == "StoreUnavailableError"


NEVER_GIVES_UP: list[tuple[str, ...]] = [
    ("run",),
    ("lead", "--", "true"),
    ("guard", "--", "true"),
    ("config", "show"),
    ("config", "validate"),
    ("config", "init"),
    ("config", "schema"),
    ("etcd", "dev"),
    ("demo",),
]


@pytest.mark.parametrize("command", NEVER_GIVES_UP, ids=" ".join)
def test_what_never_gives_up_takes_no_timeout(slurp: Slurp, command: tuple[str, ...]) -> None:
    verbs = [word for word in command if word not in {"--", "true"}]
    assert "--timeout" not in slurp(*verbs, "--help").out
    before = slurp("--timeout", 1, *command)
    assert before.code == 2
    assert "it takes no --timeout" in before.err
    assert slurp(*verbs, "--timeout", 1, *command[len(verbs) :]).code == 2


@pytest.fixture(scope="module")
def paused_etcd() -> Any:
    try:
        find_etcd()
    except Exception as error:
        pytest.skip(str(error))
    with EtcdProcess(extra_args=QUICK) as etcd:
        etcd.pause()
        yield etcd
        etcd.resume()


@pytest.mark.etcd
@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", TALKERS, ids=" ".join)
def test_a_silent_etcd_is_given_up_within_the_timeout(
    slurp: Slurp, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, paused_etcd: EtcdProcess
) -> None:
    monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", paused_etcd.endpoint)
    # Whatever does not follow --timeout outlasts this test.
    monkeypatch.setattr(options, "DEFAULT_TIMEOUT_S", 3600.0)
    monkeypatch.setenv("SLURP_JOBS__RPC_TIMEOUT", "300")
    monkeypatch.setenv("SLURP_JOBS__SUBMIT_TIMEOUT", "3600")
    result = slurp(*command, "--timeout", 0.5, "--json")
    assert result.code == 69
    assert is_one_line(result.err)


@pytest.mark.etcd
def test_waiting_for_a_job_ends_when_etcd_falls_silent(slurp: Slurp, monkeypatch: pytest.MonkeyPatch) -> None:
    with EtcdProcess(extra_args=QUICK) as etcd:
        monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", etcd.endpoint)
        job_id = slurp("submit", "a.py").out.strip()
        real = waiting._wait_for

        def pause_then_wait(*arguments: Any) -> Any:
            etcd.pause()
            return real(*arguments)

        monkeypatch.setattr(waiting, "_wait_for", pause_then_wait)
        result = slurp("jobs", "wait", job_id, "--timeout", 0.5)
        assert result.code == 69
        etcd.resume()


@pytest.mark.etcd
def test_wrong_credentials_are_denied(slurp: Slurp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with EtcdProcess(extra_args=(*QUICK, "--bcrypt-cost=4")) as etcd:
        operator = EtcdOperator(etcd.endpoint)
        operator.post("/v3/auth/role/add", name="root")
        operator.post("/v3/auth/user/add", name="root", password="right")
        operator.post("/v3/auth/user/grant", user="root", role="root")
        operator.post("/v3/auth/enable")
        monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", etcd.endpoint)
        nobody = slurp("status")
        assert nobody.code == 77
        assert "etcd.username" in nobody.err
        monkeypatch.setenv("SLURP_ETCD__USERNAME", "root")
        monkeypatch.setenv("SLURP_ETCD__PASSWORD", "wrong-guess")
        for command in (("status",), ("submit", "a.py"), ("run",)):
            denied = slurp(*command)
            assert denied.code == 77, command
            assert "etcd.password" in denied.err
            assert "wrong-guess" not in denied.err
        monkeypatch.setenv("SLURP_ETCD__PASSWORD", "right")
        assert slurp("status").code == 0


@pytest.mark.etcd
def test_an_authority_that_did_not_sign_the_member_is_denied(
    slurp: Slurp, monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    tls = LocalTls(certificates.pem("server"), certificates.key("server"))
    with EtcdProcess(extra_args=QUICK, tls=tls) as etcd:
        monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", f"https://{etcd.endpoint}")
        monkeypatch.setenv("SLURP_ETCD__CA_FILE", str(certificates.pem("other_ca")))
        denied = slurp("status")
        assert denied.code == 77
        assert is_one_line(denied.err)
        assert "etcd.ca_file" in denied.err
        assert slurp("status", "--json").error["type"] == "StoreDeniedError"
        monkeypatch.setenv("SLURP_ETCD__CA_FILE", str(certificates.pem("ca")))
        assert slurp("status").code == 0


# ---------------------------------------------------------------- what was typed


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (("leader", "simulate", "--weights", "netwrk=0.4"), "no weight 'netwrk'"),
        (("leader", "simulate", "--weights", "network=0.9"), "not 1"),
        (("leader", "simulate", "--weights", "network"), "has no number"),
        (("leader", "require-version", "abc"), "as in 1.4.2"),
        (("leader", "pin", "a b"), "cannot be part of a key"),
        (("leader", "freeze", "--why", "x" * 2000), "why has 2000 characters"),
        (("leader", "transfer", "--why", "x" * 2000), "why has 2000 characters"),
        (("queue", "pause", "--why", "x" * 2000), "at most"),
        (("status", "--election", "a/b"), "--election: 'a/b'"),
        (("lead", "--name", "a b", "--", "true"), "--name: 'a b'"),
    ],
)
def test_what_was_typed_wrong_is_wrong_usage_and_no_wrong_setting(
    slurp: Slurp, cluster: str, typed: tuple[str, ...], named: str
) -> None:
    result = slurp(*typed)
    assert (result.code, result.out) == (2, "")
    assert named in result.err.splitlines()[-1]


def test_a_name_of_the_settings_is_no_wrong_usage(slurp: Slurp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURP_ELECTION__NAME", "a/b")
    assert slurp("status").code == 78


# ---------------------------------------------------------------- settings


def test_a_named_settings_file_that_is_missing_is_wrong_configuration(slurp: Slurp) -> None:
    result = slurp("status", "--config", "nowhere.toml", "--json")
    assert result.code == 78
    assert "nowhere.toml" in result.err
    assert result.error["type"] == "ConfigurationError"


def test_all_wrong_settings_are_named_with_their_place(slurp: Slurp) -> None:
    Path("slurp.toml").write_text("[jobs]\nworkers = 0\nqueue_limit = -1\n[elektion]\nname = 'x'\n")
    result = slurp("config", "validate")
    assert result.code == 78
    for part in ("jobs.workers", "jobs.queue_limit", "slurp.toml", "did you mean 'election'"):
        assert part in result.err


def test_a_variable_that_matches_no_setting_is_refused_with_the_nearest(
    slurp: Slurp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURP_ETCD__ENDPOINT", "a:1")
    result = slurp("status")
    assert result.code == 78
    assert is_one_line(result.err)
    assert "SLURP_ETCD__ENDPOINTS" in result.err


def test_a_warning_about_settings_is_a_line_and_not_an_error(slurp: Slurp) -> None:
    file = Path("slurp.toml")
    file.write_text("[etcd]\nusername = 'app'\npassword = 'hunter2'\n")
    file.chmod(0o644)
    result = slurp("config", "validate")
    assert result.code == 0
    assert result.err.startswith("slurp: warning: ")
    assert "chmod 600" in result.err
    assert slurp("config", "validate", "--quiet").err == ""
    assert "hunter2" not in slurp("config", "show", "--origin").out


# ---------------------------------------------------------------- what was typed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stats",), "stats"),
        (("status", "--jsno"), "--json"),
        (("jobs", "show"), "ID"),
        (("jobs", "show", "abc"), "not a job id"),
        (("submit", "a", "--priority", "urgent"), "critical"),
        (("submit", "a", "--address", "foo"), "at character 0"),
        (("submit", "a", "--address", "ucxl://a:b@c:d/../x"), "slurp: --address: "),
        (("submit", "a", "--role", "no body"), "role"),
        (("submit", "a", "--max-depth", "99"), "slurp: --max-depth: is out of range; "),
        (("submit", "a", "--run-timeout", "-1"), "slurp: --run-timeout: "),
        (("submit", "a", "--metadata", "[1]"), "slurp: --metadata: "),
        (("submit", "a", "--metadata", "{"), "not JSON"),
        (("submit", "a", "--metadata", "@nowhere.json"), "nowhere.json"),
        (("submit", "a\nb"), "control character"),
        (("run", "--app", "nothing"), "module:attribute"),
        (("run", "--app", "no_such_module:x"), "no module"),
        (("run", "--app", "json:dmups"), "dumps"),
        (("run", "--app", "json:__name__"), "generator"),
        (("run", "--app", "json:JSONDecoder"), "a class"),
        (("status", "--timeout", "0"), "--timeout"),
        (("etcd", "dev", "--port", "70000"), "--port"),
        (("config", "init", "settings.yaml"), "TOML"),
    ],
    ids=lambda value: " ".join(value).replace("\n", "-") if isinstance(value, tuple) else None,
)
@pytest.mark.etcd
def test_wrong_usage_names_what_and_the_fix(slurp: Slurp, cluster: str, arguments: tuple[str, ...], said: str) -> None:
    result = slurp(*arguments)
    assert result.code == 2
    assert said in result.err
    assert is_one_line(result.err)
    assert result.out == ""


def test_wrong_usage_is_json_when_json_was_asked_for(slurp: Slurp) -> None:
    result = slurp("jobs", "ls", "--limit", "many", "--json")
    assert (result.code, result.error["exit_code"]) == (2, 2)


def test_an_app_that_fails_to_import_is_told_apart_from_one_that_is_missing(slurp: Slurp) -> None:
    Path("broken_service.py").write_text("raise RuntimeError('no database')\n")
    result = slurp("run", "--app", "broken_service:generate")
    assert result.code == 2
    assert "RuntimeError: no database" in result.err


def test_what_holds_for_every_command_may_stand_before_or_after_it(
    slurp: Slurp, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.toml").write_text("[jobs]\nworkers = 7\n")
    before = slurp("--config", "mine.toml", "-v", "config", "show")
    after = slurp("config", "show", "--config", "mine.toml", "-v")
    assert before == after
    assert "workers = 7" in before.out
    assert before.err == "slurp: settings: mine.toml\n"
    Path("other.toml").write_text("[jobs]\nworkers = 8\n")
    assert "workers = 8" in slurp("--config", "mine.toml", "config", "show", "--config", "other.toml").out


def test_without_arguments_help_is_shown(slurp: Slurp) -> None:
    result = slurp()
    assert result.code in {0, 2}  # 0 with click before 8.2
    assert "Commands" in result.out + result.err


# ---------------------------------------------------------------- settings files


def test_init_writes_a_file_that_is_valid_and_overwrites_nothing(slurp: Slurp) -> None:
    assert slurp("config", "init").code == 0
    validated = slurp("config", "validate", "--json").json
    assert validated["valid"] is True
    assert validated["file"] == "slurp.toml"
    Path("slurp.toml").write_text("[jobs]\nworkers = 7\n")
    assert slurp("config", "init").code == 2
    assert "workers = 7" in Path("slurp.toml").read_text()
    assert slurp("config", "init", "--force").code == 0
    assert slurp("config", "init", "-").out == Path("slurp.toml").read_text()


def test_show_tells_where_each_value_comes_from(slurp: Slurp, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("slurp.toml").write_text("[jobs]\nworkers = 7\n")
    monkeypatch.setenv("SLURP_JOBS__MAX_ATTEMPTS", "5")
    shown = slurp("config", "show", "--origin", "--json").json["jobs"]
    assert shown["workers"] == {"value": 7, "origin": "file slurp.toml"}
    assert shown["max_attempts"] == {"value": 5, "origin": "environment SLURP_JOBS__MAX_ATTEMPTS"}
    assert "workers = 7" in slurp("config", "show").out
    assert "workers: 7" in slurp("config", "show", "--format", "yaml").out


def test_the_schema_is_json(slurp: Slurp) -> None:
    assert "jobs" in json.loads(slurp("config", "schema").out)["properties"]
