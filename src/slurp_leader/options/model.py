"""`Options`: the base of every part's options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from slurp_leader.options.problems import configuration_error


class Options(BaseModel):
    """Frozen values of one part, checked when they are built.

    Building them with a wrong value, an unknown name or two values that do not fit together raises
    `ConfigurationError`; nothing has to be checked later. `model_validate`, pydantic's own door, raises pydantic's
    `ValidationError` instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    section: ClassVar[str] = ""
    """The section of the settings these options stand in; error messages begin with it."""

    if not TYPE_CHECKING:  # a visible __init__ would hide the fields from type checkers

        def __init__(self, /, **values: Any) -> None:
            wrong = None
            try:
                super().__init__(**values)
            except ValidationError as error:
                wrong = configuration_error(type(self), error, section=type(self).section)
            # Raised out here, because pydantic's error holds all input, secrets too, and would ride along as context.
            if wrong is not None:
                raise wrong

    def but(self, **values: Any) -> Self:
        """The same with other values, checked like new ones.

        Raises:
            ConfigurationError: A value is wrong, or does not fit the others.
        """
        return type(self)(**{**dict(self), **values})
