"""The settings file: which one, and what is in it."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from slurp_leader.errors import ConfigurationError

_LARGEST = 1024 * 1024
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def find_file(named: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    """The one settings file to read; files are never merged.

    Args:
        named: The file the caller named, if any.
        environ: The environment, for ``SLURP_CONFIG_FILE`` and the XDG folder.

    Returns:
        The named file, else that of ``SLURP_CONFIG_FILE``, else the first that exists of ``./slurp.toml``,
        ``$XDG_CONFIG_HOME/slurp/config.toml`` and ``/etc/slurp/config.toml``, else None.

    Raises:
        ConfigurationError: A named file does not exist. Only a file that nobody named may be missing.
    """
    if named is not None:
        return _existing(Path(named), "settings file")
    if environ.get("SLURP_CONFIG_FILE"):
        return _existing(Path(environ["SLURP_CONFIG_FILE"]), "SLURP_CONFIG_FILE")
    return next((path for path in _usual_places(environ) if os.path.isfile(path)), None)


def _existing(path: Path, said_by: str) -> Path:
    if not os.path.exists(path):  # unlike Path.exists, False also where we may not look
        raise ConfigurationError(f"{said_by}: {path} does not exist; create it or name another file", field=said_by)
    return path


def _usual_places(environ: Mapping[str, str]) -> list[Path]:
    places = [Path("slurp.toml")]
    if environ.get("XDG_CONFIG_HOME"):
        places.append(Path(environ["XDG_CONFIG_HOME"], "slurp", "config.toml"))
    elif environ.get("HOME"):
        places.append(Path(environ["HOME"], ".config", "slurp", "config.toml"))
    return [*places, Path("/etc/slurp/config.toml")]


def read_file(path: Path) -> dict[str, Any]:
    """Read a TOML or YAML file, by its suffix.

    Returns:
        Sections by name. A section without content is empty, not None.

    Raises:
        ConfigurationError: Not readable, too large, not TOML or YAML, a key twice, or the root is not a mapping. The
            message has line and column and never a piece of the file, which may hold secrets.
    """
    parse = _parser(path)
    text = _read_text(path)
    failure = ""
    values: Any = None
    try:
        values = parse(text)
    except yaml.YAMLError as error:
        failure = f"not valid YAML: {_yaml_reason(error)}"
    except tomllib.TOMLDecodeError as error:
        failure = f"not valid TOML: {_without_quotes(str(error).splitlines()[0])}"
    except ValueError:
        failure = "holds a value that cannot be read; put text in quotes"
    except RecursionError:
        failure = "nested too deeply"
    # Raised out here: the parser's error quotes the file, and must not ride along as context.
    if failure:
        raise _refuse(path, failure)
    return _sections(path, values)


def _parser(path: Path) -> Callable[[str], Any]:
    match path.suffix.lower():
        case ".toml":
            return tomllib.loads
        case ".yaml" | ".yml":
            return _load_yaml
        case _:
            raise _refuse(path, "unknown kind of file; its name must end in .toml, .yaml or .yml")


def _read_text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise _refuse(path, "not a regular file")
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise _refuse(path, f"cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise _refuse(path, "larger than 1 MiB; this cannot be a settings file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    raise _refuse(path, "not UTF-8 text")


def _sections(path: Path, values: Any) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise _refuse(path, "must hold sections with settings, not a list or a single value")
    _check_keys(path, values)
    return {name: {} if content is None else content for name, content in values.items()}


def _check_keys(path: Path, values: Mapping[Any, Any]) -> None:
    for key, value in values.items():
        if not isinstance(key, str):
            raise _refuse(path, "every name must be text; put it in quotes")
        if isinstance(value, dict):
            _check_keys(path, value)


def _refuse(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {reason}", field=str(path))


class _YamlLoader(yaml.SafeLoader):
    """Plain values only: no tags, no aliases (a few nested ones fill any memory), no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            reason = "aliases are not allowed; quote text that begins with *"
            raise yaml.composer.ComposerError(None, None, reason, self.get_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.composer.ComposerError(None, None, f"{name} stands there twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def _load_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_YamlLoader)  # a SafeLoader


def _yaml_reason(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return "characters that YAML does not allow"
    tagged = isinstance(error, yaml.constructor.ConstructorError)
    problem = "tags are not allowed; quote text that begins with !" if tagged else _without_quotes(error.problem or "")
    return f"{problem} (at line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1})"


def _without_quotes(message: str) -> str:
    """A parser's message without what it quotes from the file: `password = !hunter2` is quoted as a tag."""
    return _QUOTED.sub("...", message)
