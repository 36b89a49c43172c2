"""Each error planted on purpose is found: what proves that the simulation would find one that was not."""

from __future__ import annotations

import pytest

from simulation.planted import PLANTED
from simulation.run import simulate


@pytest.mark.parametrize("name", PLANTED)
def test_a_rule_taken_out_is_missed_within_few_seeds(name: str) -> None:
    planted = PLANTED[name]
    with planted.in_place():
        found = next((v for v in map(simulate, planted.seeds) if v.violations), None)
    assert found is not None, f"{planted.rule}: taken out, and nothing was noticed in {len(planted.seeds)} seeds"


def test_planted_errors_are_taken_back() -> None:
    before = simulate(5).history.digest()
    for planted in PLANTED.values():
        with planted.in_place():
            pass
    assert simulate(5).history.digest() == before
