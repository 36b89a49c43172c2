"""`SlurpSettings`: all options, from all sources."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from slurp_leader.election.options import ElectionOptions
from slurp_leader.errors import ConfigurationError
from slurp_leader.etcd.options import EtcdOptions
from slurp_leader.health.options import HealthOptions
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.options import configuration_error
from slurp_leader.options.problems import field_at, submodel, suggestion
from slurp_leader.resilience.options import BreakerOptions
from slurp_leader.settings.environment import NESTING, PREFIX, read_environment, read_fallbacks
from slurp_leader.settings.files import find_file, read_file
from slurp_leader.settings.layers import Layer, layer_of, warn_of_readable_secrets, winning_origins
from slurp_leader.settings.node import NodeOptions
from slurp_leader.settings.render import render
from slurp_leader.settings.secrets import read_secrets
from slurp_leader.settings.sections import GeneratorOptions, LogsOptions, TelemetryOptions

_LAYERS: ContextVar[tuple[Layer, ...]] = ContextVar("slurp_leader_settings_layers", default=())


class SlurpSettings(BaseSettings):
    """Every setting of the library, checked.

    Building one reads the environment, the secrets directory (``SLURP_SECRETS_DIR``) and the settings file; what is
    passed in wins over all of them. The object itself is a plain frozen value.

    Args:
        sections: Options or mappings by section: ``SlurpSettings(etcd={"endpoints": ["db:2379"]})``.

    Raises:
        ConfigurationError: Something is wrong or unknown. All wrong values are in one message, none of them a secret.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter=NESTING,
    )

    node: NodeOptions = Field(default_factory=NodeOptions)
    """Who this node is."""

    etcd: EtcdOptions = Field(default_factory=EtcdOptions)
    """How etcd is reached."""

    election: ElectionOptions = Field(default_factory=ElectionOptions)
    """How the election is held."""

    jobs: JobsOptions = Field(default_factory=JobsOptions)
    """How jobs are run, kept and written."""

    breaker: BreakerOptions = Field(default_factory=BreakerOptions)
    """When a generator that keeps failing is left alone for a while."""

    health: HealthOptions = Field(default_factory=HealthOptions)
    """How health checks of the service are made."""

    generator: GeneratorOptions = Field(default_factory=GeneratorOptions)
    """What the built-in generator may read."""

    logs: LogsOptions = Field(default_factory=LogsOptions)
    """What the command line writes as log."""

    telemetry: TelemetryOptions = Field(default_factory=TelemetryOptions)
    """What the command line sends to OpenTelemetry."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _file: Path | None = PrivateAttr(default=None)

    def __init__(self, /, **sections: Any) -> None:
        self._build(None, sections)

    @classmethod
    def load(cls, path: str | Path | None = None, **sections: Any) -> Self:
        """Read the settings, with the file named.

        Args:
            path: TOML or YAML file. None: ``SLURP_CONFIG_FILE``, else the first of ``./slurp.toml``,
                ``$XDG_CONFIG_HOME/slurp/config.toml``, ``/etc/slurp/config.toml``, else no file.
            sections: As for the class itself.

        Raises:
            ConfigurationError: As for the class itself, or the file is missing or cannot be read.
        """
        settings = cls.__new__(cls)
        settings._build(path, sections)
        return settings

    def _build(self, path: str | Path | None, sections: Mapping[str, Any]) -> None:
        kind = type(self)
        file = find_file(path, os.environ)
        layers = _read_layers(kind, sections, file, os.environ)
        origins = winning_origins(layers)
        wrong = None
        with _using(layers):
            try:
                super().__init__()
            except ValidationError as error:
                wrong = configuration_error(kind, error, origin=lambda field: _origin_of(origins, field))
        # Raised out here, because pydantic's error holds all input, secrets too, and would ride along as context.
        if wrong is not None:
            raise wrong
        self._origins = origins
        self._file = file

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Our own sources: those of pydantic-settings neither refuse unknown names nor tell what came from where."""
        return tuple(_LayerSource(settings_cls, layer) for layer in _LAYERS.get())

    def __eq__(self, other: object) -> bool:
        """Whether all values are the same, wherever they came from."""
        return isinstance(other, SlurpSettings) and self.__dict__ == other.__dict__

    @property
    def file(self) -> Path | None:
        """The settings file that was read, if any."""
        return self._file

    def origin(self, name: str) -> str:
        """Which source set a field.

        Args:
            name: Dotted, such as ``etcd.endpoints``.

        Returns:
            ``argument``, ``environment SLURP_ETCD__ENDPOINTS``, ``secret <file>``, ``file <file>`` or ``default``.

        Raises:
            ConfigurationError: There is no such field.
        """
        found = field_at(type(self), tuple(name.split(".")))
        if found is None or submodel(found) is not None:
            raise ConfigurationError(f"{name}: no such setting; {suggestion(name, self.origins())}", field=name)
        return self._origins.get(name, "default")

    def origins(self) -> dict[str, str]:
        """The origin of every field, by dotted name, in the order of the sections."""
        sections = {name: type(getattr(self, name)) for name in type(self).model_fields}
        names = [f"{section}.{field}" for section, kind in sections.items() for field in kind.model_fields]
        return {name: self._origins.get(name, "default") for name in names}

    def render(self, format: Literal["toml", "yaml", "json"] = "toml", *, origins: bool = False) -> str:
        """The settings in force as text, secrets masked.

        Args:
            format: What to write.
            origins: Say for each value where it came from.
        """
        return render(self.model_dump(mode="json"), format, self.origins() if origins else None)


class _LayerSource(PydanticBaseSettingsSource):
    """Hands one layer to pydantic-settings, which merges them."""

    def __init__(self, settings_cls: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings_cls)
        self._layer = layer

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._layer.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self._layer.values)


def _read_layers(
    model: type[SlurpSettings], sections: Mapping[str, Any], file: Path | None, environ: Mapping[str, str]
) -> tuple[Layer, ...]:
    """All sources, the strongest first."""
    layers = [layer_of(sections, "argument"), read_environment(model, environ)]
    if environ.get("SLURP_SECRETS_DIR"):
        layers.append(read_secrets(model, Path(environ["SLURP_SECRETS_DIR"])))
    if file is not None:
        values = read_file(file)
        warn_of_readable_secrets(model, file, values)
        layers.append(layer_of(values, f"file {file}"))
    return (*layers, read_fallbacks(environ))


@contextmanager
def _using(layers: tuple[Layer, ...]) -> Iterator[None]:
    """Lets `settings_customise_sources`, a class method, see what is being read in this thread."""
    token = _LAYERS.set(layers)
    try:
        yield
    finally:
        _LAYERS.reset(token)


def _origin_of(origins: Mapping[str, str], name: str) -> str:
    """The origin of a field; for a place in a list, of what it is in; for a section, of its content. Empty: default."""
    holders = [name]
    while "." in holders[-1]:
        holders.append(holders[-1].rpartition(".")[0])
    known = [origins[holder] for holder in holders if holder in origins]
    content = [origin for field, origin in origins.items() if field.startswith(f"{name}.")]
    return next(iter(known + content), "")
