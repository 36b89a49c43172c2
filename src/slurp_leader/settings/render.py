"""Settings as text, for people and for tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import yaml

Sections = Mapping[str, Mapping[str, Any]]


def render(
    sections: Sections, format: Literal["toml", "yaml", "json"], origins: Mapping[str, str] | None = None
) -> str:
    """Write sections as text.

    Args:
        sections: Plain JSON values by section and field; secrets are masked already.
        format: ``toml``, ``yaml`` or ``json``.
        origins: Origin by dotted name. TOML gets them as comments; in the others each value becomes
            ``{value, origin}``.
    """
    if format == "toml":
        return _toml(sections, origins or {})
    content: Any = sections if origins is None else _with_origins(sections, origins)
    if format == "json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def toml_value(value: Any) -> str:
    """One value in TOML.

    Raises:
        TypeError: A kind of value that settings do not have.
    """
    if isinstance(value, bool | int | float | str):
        # What JSON writes for these is TOML too, but for one character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    raise TypeError(f"no TOML for {type(value).__name__}")


def _toml(sections: Sections, origins: Mapping[str, str]) -> str:
    blocks = []
    for section, fields in sections.items():
        lines = [_toml_line(name, value, origins.get(f"{section}.{name}", "")) for name, value in fields.items()]
        blocks.append("\n".join([f"[{section}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def _toml_line(name: str, value: Any, origin: str) -> str:
    line = f"# {name} is not set" if value is None else f"{name} = {toml_value(value)}"
    return f"{line}  # {origin}" if origin else line


def _with_origins(sections: Sections, origins: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    return {
        section: {name: {"value": value, "origin": origins[f"{section}.{name}"]} for name, value in fields.items()}
        for section, fields in sections.items()
    }
