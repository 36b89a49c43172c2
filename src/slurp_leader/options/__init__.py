"""What the options of all parts have in common.

Every part owns a small frozen `Options` model and never reads the environment; `slurp_leader.settings` fills them.
Here live the base model, the field types whose values people write by hand (durations, sizes, names), and the one
translation of pydantic's errors into a `ConfigurationError` that names field, value and fix, and never a secret.
"""

from slurp_leader.options.durations import Duration, format_duration, parse_duration
from slurp_leader.options.fields import Capabilities, Count, FieldError, Flag, KeySegment, Ratio
from slurp_leader.options.model import Options
from slurp_leader.options.problems import configuration_error, refusal
from slurp_leader.options.sizes import Size, format_about, format_size, parse_size

__all__ = [
    "Capabilities",
    "Count",
    "Duration",
    "FieldError",
    "Flag",
    "KeySegment",
    "Options",
    "Ratio",
    "Size",
    "configuration_error",
    "format_about",
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_size",
    "refusal",
]
