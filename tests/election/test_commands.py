"""Commands that hints name are about the election that is meant."""

from __future__ import annotations

import pytest

from slurp_leader.election.commands import about


@pytest.mark.parametrize(
    ("hint", "named"),
    [
        ("see `slurp leader show`", "see `slurp leader show --election reports`"),
        ("ask `slurp leader explain n-a` or `slurp status`",
         "ask `slurp leader explain n-a --election reports` or `slurp status --election reports`"),
        ("start a node with `slurp run`", "start a node with `SLURP_ELECTION__NAME=reports slurp run`"),
        ("see `slurp leader ls` and `slurp jobs ls`", "see `slurp leader ls` and `slurp jobs ls`"),
        ("give each node its own node.id", "give each node its own node.id"),
        ("", ""),
    ],
)  # fmt: skip
def test_commands_about_one_election_name_it(hint: str, named: str) -> None:
    assert about("reports", hint) == named
