"""Settings: every part's options in one object, filled from arguments, environment, secrets directory and file.

::

    arguments  >  SLURP_<SECTION>__<FIELD>  >  secrets directory  >  settings file  >  BZZZ_AGENT_ID ...  >  defaults

Each source is read into a `Layer` (`files`, `environment`, `secrets`), `layers` orders them, and `SlurpSettings` lets
pydantic-settings merge and check them. This is the only package that reads the environment. A `.env` file is never
read: one that happens to lie in the working directory should not decide which etcd is used.

Whatever is unknown is refused with the nearest known name, because a mistyped setting that is silently ignored is found
out on the worst day. `SlurpSettings.origin` tells for each value where it came from.
"""

from slurp_leader.settings.environment import without_settings
from slurp_leader.settings.layers import ConfigurationWarning
from slurp_leader.settings.node import NodeOptions
from slurp_leader.settings.sections import GeneratorOptions, LogsOptions, TelemetryOptions
from slurp_leader.settings.settings import SlurpSettings
from slurp_leader.settings.template import config_schema, config_template

__all__ = [
    "ConfigurationWarning",
    "GeneratorOptions",
    "LogsOptions",
    "NodeOptions",
    "SlurpSettings",
    "TelemetryOptions",
    "config_schema",
    "config_template",
    "without_settings",
]
