"""What is handed on to child processes."""

from __future__ import annotations

from slurp_leader.settings import without_settings


def test_a_child_can_be_given_an_environment_without_our_settings() -> None:
    environ = {"SLURP_ETCD__ENDPOINTS": "a:1", "slurp_config_file": "x", "BZZZ_AGENT_ID": "b", "PATH": "/bin"}

    assert without_settings(environ) == {"PATH": "/bin"}
