"""Settings from a secrets directory: one file a field, named ``<section>__<field>``.

That is how containers and systemd hand over secrets (``/run/secrets``, a mounted volume, ``CREDENTIALS_DIRECTORY``).
pydantic-settings has a source for nested names only since 2.12, and we have to work beside 2.7.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from slurp_leader.errors import ConfigurationError, SettingProblem
from slurp_leader.options.problems import field_at, refusal, submodel, suggestion
from slurp_leader.settings.environment import NESTING, decode
from slurp_leader.settings.layers import Layer, nest

_LARGEST = 64 * 1024


def read_secrets(model: type[BaseModel], directory: Path) -> Layer:
    """What the files of a directory set. A line end after the value is not part of it.

    Files of other names are left alone, as the directory may be shared; ``etcd__pasword`` is not: its section is ours.

    Raises:
        ConfigurationError: The directory cannot be read, a file is empty, too large or not text, or no such field.
    """
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for file in _files(directory):
        section, _, name = file.name.lower().partition(NESTING)
        options = submodel(model.model_fields[section]) if section in model.model_fields else None
        if not name or options is None:
            continue
        dotted = f"{section}.{name}"
        field = field_at(model, (section, name))
        if field is None:
            problem = f"no such setting; {suggestion(name, options.model_fields)}"
            raise refusal([SettingProblem(dotted, problem, origin=f"secret {file}")])
        found[dotted] = decode(field, _read(file, dotted))
        origins[dotted] = f"secret {file}"
    return Layer(nest(found), origins)


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise ConfigurationError(
            f"SLURP_SECRETS_DIR: {directory} cannot be read: {error.strerror}; create it or unset the variable",
            field="SLURP_SECRETS_DIR",
        ) from error


def _read(file: Path, dotted: str) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        raise _refuse(file, dotted, f"cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise _refuse(file, dotted, "larger than 64 KiB; this cannot be a secret")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise _refuse(file, dotted, "must be text and not empty; write the value into it, or remove the file")
    return text


def _refuse(file: Path, dotted: str, reason: str) -> ConfigurationError:
    return refusal([SettingProblem(dotted, reason, origin=f"secret {file}")])
