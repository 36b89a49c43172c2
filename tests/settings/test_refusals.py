"""What is said of settings that were written in a way that suggests itself, and is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from settings_files import write

from slurp_leader.election.options import ElectionOptions
from slurp_leader.errors import ConfigurationError
from slurp_leader.options import Options

Refusal = Callable[..., ConfigurationError]

DEFAULTS = "weight_capability 0.35 + weight_resources 0.25 + weight_uptime 0.15"


def test_weights_that_are_no_whole_blame_the_one_that_was_set(refusal_of: Refusal, tmp_path: Path) -> None:
    file = write(tmp_path / "slurp.toml", "[election]\nweight_network = 0.4\n")
    error = refusal_of(file)
    assert error.field == "election.weight_network"
    assert str(error) == (
        f"election.weight_network = 0.4 (file {file}): {DEFAULTS} + weight_network 0.4 + weight_experience 0.1 = 1.25, "
        "not 1: take 0.25 away from some of them"
    )


def test_of_several_weights_each_is_named_that_was_set_wherever_that_was(
    refusal_of: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURP_ELECTION__WEIGHT_UPTIME", "0")
    message = str(refusal_of(election={"weight_network": 0.1}))
    assert message.startswith(
        "election.weight_uptime = '0' (environment SLURP_ELECTION__WEIGHT_UPTIME): set are weight_uptime, "
        "weight_network; weight_capability 0.35"
    )
    assert message.endswith("= 0.8, not 1: add 0.2 to some of them")


def test_options_alone_say_it_as_well() -> None:
    with pytest.raises(ConfigurationError, match=r"^election\.weight_network = 0\.4: .*take 0\.25 away"):
        ElectionOptions(weight_network=0.4)


def test_weights_in_one_table_are_told_what_they_are_called(refusal_of: Refusal, tmp_path: Path) -> None:
    file = write(tmp_path / "slurp.toml", "[election]\nweights = {network = 0.4}\n")
    assert "unknown setting; the weights are weight_capability, weight_resources, weight_uptime," in str(
        refusal_of(file)
    )


def test_weights_in_one_variable_are_told_so_too(refusal_of: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURP_ELECTION__WEIGHTS", "network=.4")
    assert str(refusal_of()).startswith(
        "SLURP_ELECTION__WEIGHTS: no such setting; the weights are SLURP_ELECTION__WEIGHT_CAPABILITY, SLURP_ELECTION__"
    )


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ('"gpu"', "requires = 'gpu' (file {file}): must be a list: write it as in [\"gpu\"]"),
        ("5", 'requires = 5 (file {file}): must be a list: write it as in ["a", "b"]'),
        ('["gpu", "big disk", "ssd"]', "requires = 'big disk' (file {file}): each must be 1 to 64 letters"),
        ('["big disk", "!"]', "requires = 'big disk', '!' (file {file}): each must be"),
        ('["gpu", "gpu"]', "requires (file {file}): must not name a capability twice"),
        ('["gpu", 5]', "requires.1 = 5 (file {file}): must be a valid string"),
    ],
)
def test_lists_say_how_they_are_written_and_which_entry_is_wrong(
    refusal_of: Refusal, tmp_path: Path, written: str, says: str
) -> None:
    file = write(tmp_path / "slurp.toml", f"[election]\nrequires = {written}\n")
    assert str(refusal_of(file)).startswith("election." + says.format(file=file))


class _Addresses(Options):
    places: tuple[str, ...] = ()


@pytest.mark.parametrize("value", ["http://user:hunter2@host", "a\nb"])
def test_no_example_is_made_of_what_may_be_secret_or_would_break_the_line(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'as in \["a", "b"\]$') as caught:
        _Addresses(places=value)
    assert "hunter2" not in str(caught.value)
