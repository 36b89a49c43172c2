"""Settings as text: rendered, as a template, as a schema. Secrets stay hidden in each."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from settings_files import write

from architecture.source import trees
from slurp_leader.generators.workspace import DEFAULT_MAX_BYTES
from slurp_leader.settings import SlurpSettings, config_schema, config_template

SECRET = {"username": "slurp", "password": "hunter2"}


def parsed(settings: SlurpSettings, format: Any, **options: Any) -> Any:
    text = settings.render(format, **options)
    return {"toml": tomllib.loads, "yaml": yaml.safe_load, "json": json.loads}[format](text)


def test_a_secret_is_never_shown() -> None:
    settings = SlurpSettings(etcd=SECRET)
    shown = [
        repr(settings),
        str(settings),
        repr(settings.etcd),
        settings.model_dump_json(),
        str(settings.model_dump()),
        str(settings.origins()),
        *(settings.render(format, origins=origins) for format in ("toml", "yaml", "json") for origins in (True, False)),
    ]
    assert not [text for text in shown if "hunter2" in text]
    assert "**********" in settings.render()


@pytest.mark.parametrize("format", ["toml", "yaml", "json"])
def test_what_is_rendered_is_valid_and_loads_to_the_same_settings(format: str) -> None:
    settings = SlurpSettings(
        node={"id": "a", "advertise": "host:1"},
        election={"lease_ttl": 30, "renew_interval": "500ms"},
        jobs={"backoff_jitter": 0.25, "queue_bytes": "64MiB"},
        logs={"file": 'odd "name" \\ ü 😀.log'},
        telemetry={"metrics": False},
    )
    content = parsed(settings, format)
    assert content["election"]["lease_ttl"] == "30s"
    file = write(Path(f"again.{'yaml' if format == 'json' else format}"), settings.render(format))  # type: ignore[arg-type]
    assert SlurpSettings.load(file) == settings


def test_the_one_character_that_json_allows_and_toml_does_not_is_escaped() -> None:
    settings = SlurpSettings(logs={"file": "a\x7fb"})
    assert parsed(settings, "toml")["logs"]["file"] == "a\x7fb"


def test_rendering_tells_origins_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURP_JOBS__WORKERS", "9")
    settings = SlurpSettings()
    assert "workers = 9  # environment SLURP_JOBS__WORKERS\n" in settings.render(origins=True)
    assert "# renew_interval is not set  # default\n" in settings.render(origins=True)
    told = parsed(settings, "json", origins=True)
    assert told["jobs"]["workers"] == {"value": 9, "origin": "environment SLURP_JOBS__WORKERS"}
    assert parsed(settings, "yaml", origins=True) == told
    assert parsed(settings, "toml", origins=True) == parsed(settings, "toml")


def test_the_template_loads_as_it_is_and_changes_nothing() -> None:
    assert SlurpSettings.load(write(Path("template.toml"), config_template())) == SlurpSettings()


def test_every_line_of_the_template_shows_the_default_of_a_real_setting() -> None:
    """Each commented setting is switched on, except those without a default: nothing may change."""
    lines = config_template().splitlines()
    on = [re.sub(r"^#(\w+ = .)", r"\1", line) for line in lines]
    settings = SlurpSettings.load(write(Path("template.toml"), "\n".join(on)))
    assert settings == SlurpSettings()
    switched_on = [name for name, origin in settings.origins().items() if origin == "file template.toml"]
    left_off = [line for line in on if re.fullmatch(r"#\w+ =", line)]
    assert len(switched_on) > 30
    assert len(switched_on) + len(left_off) == len(settings.origins())


def test_every_field_says_what_it_means() -> None:
    schema = config_schema()
    silent = [
        f"{model}.{name}"
        for model, content in schema["$defs"].items()
        for name, field in content.get("properties", {}).items()
        if len(field.get("description", "")) < 15
    ]
    assert not silent


def test_the_schema_is_plain_json_and_refuses_unknown_sections() -> None:
    schema = json.loads(json.dumps(config_schema()))
    assert set(schema["properties"]) == set(SlurpSettings.model_fields)
    assert schema["additionalProperties"] is False


def test_the_limit_of_the_generator_is_the_same_with_and_without_settings() -> None:
    assert SlurpSettings().generator.max_bytes == DEFAULT_MAX_BYTES


def test_no_other_part_reads_settings_from_the_environment() -> None:
    """Elsewhere the environment is handed on to child processes and searched for programs, never for `SLURP_*`.

    But for what a parent process leaves there about itself, which nobody can set.
    """
    asking = []
    for name, tree in trees().items():
        if name.startswith("settings/") or name == "guard/inherited.py":
            continue
        nodes = list(ast.walk(tree))
        docs = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        texts = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in docs]
        asking += [name for text in texts if str(text.value).startswith(("SLURP_", "BZZZ_"))]
        asking += [name for node in nodes if isinstance(node, ast.Attribute) and node.attr == "getenv"]
    assert not asking
