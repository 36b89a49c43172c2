"""What describes the settings: a commented settings file to begin with, and the JSON schema.

Both are made from the fields and the docstrings under them, so they cannot fall behind the code.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from slurp_leader.options.problems import is_secret, submodel
from slurp_leader.settings.render import toml_value
from slurp_leader.settings.settings import SlurpSettings

_WIDTH = 100
_HEAD = """\
Settings of slurp-leader. Every line that is commented out shows the default; remove the # to change it.
Environment variables win over this file: SLURP_<SECTION>__<FIELD>, for example SLURP_ETCD__ENDPOINTS=a:2379,b:2379.
Secrets are better kept in the folder that SLURP_SECRETS_DIR names, one file each, for example etcd__password."""


def config_template() -> str:
    """A complete settings file in TOML: every field with its meaning, commented out at its default."""
    blocks = ["\n".join(f"# {line}" for line in _HEAD.splitlines())]
    for section, options in _sections():
        blocks.append(f"# {_first_line(options)}\n[{section}]")
        blocks.extend(_entry(options, name, field) for name, field in options.model_fields.items())
    return "\n\n".join(blocks) + "\n"


def config_schema() -> dict[str, Any]:
    """The JSON schema of a settings file, each field with its description."""
    schema = SlurpSettings.model_json_schema()
    for _, options in _sections():
        properties = schema["$defs"][options.__name__]["properties"]
        for name, text in field_docs(options).items():
            if name in properties:
                properties[name]["description"] = text
    return schema


@cache
def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The text under each field of a model, as one line. Read from the source, because Python does not keep it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    statements = getattr(tree, "body", [])
    docs: dict[str, str] = {}
    for statement, after in pairwise(statements):
        if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
            text = ast.literal_eval(after.value)
            docs[ast.unparse(statement.target)] = " ".join(text.split()).replace("``", "")
    return docs


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in SlurpSettings.model_fields.items():
        options = submodel(field)
        if options is not None:
            yield name, options


def _first_line(options: type[BaseModel]) -> str:
    return (inspect.getdoc(options) or "").splitlines()[0]


def _entry(options: type[BaseModel], name: str, field: FieldInfo) -> str:
    text = field.description or field_docs(options).get(name, "")
    lines = textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    return "\n".join([*lines, f"#{name} = {_default(options, name, field)}".rstrip()])


def _default(options: type[BaseModel], name: str, field: FieldInfo) -> str:
    """The default in TOML; empty for a field that has none."""
    if is_secret(field) or field.default_factory is not None:
        return ""
    default = options.model_construct().model_dump(mode="json", include={name})[name]
    return "" if default is None else toml_value(default)
