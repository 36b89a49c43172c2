"""Every error has its exit code and its line."""

from __future__ import annotations

import json

import pytest

from slurp_leader import errors
from slurp_leader.cli import main
from slurp_leader.cli.exits import ANSWERS, INTERNAL_HINT, MEANINGS, Exit, answer_to, describe, report
from slurp_leader.cli.options import Invocation


def every_error() -> list[type[errors.SlurpLeaderError]]:
    found: list[type[errors.SlurpLeaderError]] = []
    waiting = [errors.SlurpLeaderError]
    while waiting:
        kind = waiting.pop()
        if kind.__module__ == errors.__name__:
            found.append(kind)
            waiting += kind.__subclasses__()
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_library_stands_in_the_table_by_its_own_name(kind: type[errors.SlurpLeaderError]) -> None:
    assert kind in ANSWERS
    assert ANSWERS[kind].exit is not Exit.OK


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RequestInvalidError("role: wrong"), 2),
        (errors.NoLeaderError(), 3),
        (errors.NotLeaderError(), 4),
        (errors.LeadershipLostError(), 4),
        (errors.StaleTokenError(), 4),
        (errors.JobNotFoundError(), 5),
        (errors.ResultExpiredError(), 5),
        (errors.IdempotencyConflictError(), 6),
        (errors.DuplicateNodeError(), 6),
        (errors.StoreUnavailableError(), 69),
        (errors.StoreTimeoutError(), 69),
        (errors.QueueFullError(), 75),
        (errors.StoreFullError(), 75),
        (errors.HandoverError("x", reason="busy"), 75),
        (errors.HandoverError("x", reason="nobody"), 2),
        (errors.HandoverError("x", reason="unknown"), 6),
        (errors.HandoverError("x", reason="itself"), 6),
        (errors.HandoverError("x", reason="blocked"), 6),
        (errors.HandoverError("x", reason="pinned_elsewhere"), 6),
        (errors.HandoverError("x", reason="capability"), 6),
        (errors.StoreDeniedError(), 77),
        (errors.ConfigurationError("x"), 78),
        (PermissionError(13, "Permission denied", "a.toml"), 1),
        (ZeroDivisionError("a mistake"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_exit_codes_are_those_that_scripts_rely_on(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error, as_json=False) == code
    assert capsys.readouterr().err.startswith("slurp: ")


def test_an_error_class_of_a_user_is_answered_like_its_parent() -> None:
    class Mine(errors.TerminalError):
        pass

    answer = answer_to(Mine("no"))
    assert answer is not None
    assert answer.exit is Exit.FAILED


def test_the_json_of_an_error_carries_its_facts_and_no_foreign_objects() -> None:
    described = describe(errors.QueueFullError("full", retry_after_s=2.5, cause=object()))
    assert described["type"] == "QueueFullError"
    assert described["retry_after_s"] == 2.5
    assert described["retryable"] is True
    assert "cause" not in described
    json.dumps(described)


def test_a_mistake_of_ours_says_its_type_and_how_to_see_more(capsys: pytest.CaptureFixture[str]) -> None:
    report(ZeroDivisionError("oops"), as_json=True, hint=INTERNAL_HINT)
    written = capsys.readouterr()
    assert written.err.strip() == f"slurp: ZeroDivisionError: oops; {INTERNAL_HINT}"
    assert json.loads(written.out)["error"]["message"] == "ZeroDivisionError: oops"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (errors.HandoverError("no", reason="blocked"), "slurp leader orders"),
        (errors.HandoverError("no", reason="pinned_elsewhere"), "slurp leader orders"),
        (errors.HandoverError("no", reason="unknown"), "slurp status"),
        (errors.HandoverError("no", reason="busy"), "slurp leader show"),
        (errors.OrderRefusedError("no", reason="frozen"), "slurp leader orders"),
        (errors.OrderRefusedError("no", reason="unknown"), "slurp status"),
        (errors.NoLeaderError("no"), "slurp leader explain"),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'reason', '')}" if isinstance(value, Exception) else "",
)
def test_the_hint_fits_the_reason(error: Exception, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    report(error, as_json=False)
    assert hint in capsys.readouterr().err


def test_the_hint_is_about_the_election_that_was_named(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.OrderRefusedError("no", reason="")
    report(error, as_json=True, said=Invocation(election="reports").hint)
    written = capsys.readouterr()
    fix = "see `slurp leader orders --election reports` and `slurp leader show --election reports`"
    assert (json.loads(written.out)["error"]["fix"], written.err) == (fix, f"slurp: no; {fix}\n")


def test_a_reason_with_a_line_end_does_not_break_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    report(errors.OrderRefusedError("frozen by ops: the\nnight", reason="frozen"), as_json=False)
    assert capsys.readouterr().err.count("\n") == 1
    report(errors.ConfigurationError("one\nand another"), as_json=False)
    assert capsys.readouterr().err.count("\n") == 2


def test_the_help_lists_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())  # older versions of typer let the lines flow together
    assert {int(code) for code in Exit} <= set(MEANINGS)
    for code, meaning in MEANINGS.items():
        assert f"{code} {' '.join(meaning.split())}" in told


def test_an_error_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report(errors.JobFailedError("job failed: \x1b[2Jgone"), as_json=False)
    assert "\x1b" not in capsys.readouterr().err
