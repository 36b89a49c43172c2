"""The table of errors: complete, reachable, and right about what etcd really says."""

from __future__ import annotations

import grpc
import pytest

from slurp_leader.errors import (
    LeaseExistsError,
    LeaseNotFoundError,
    Outcome,
    RequestMalformedError,
    RequestTooLargeError,
    RevisionCompactedError,
    StoreBusyError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from slurp_leader.etcd.errors import RULES, is_token_refused, rule_for, translate, translate_cancellation

Code = grpc.StatusCode
NO, UNKNOWN = Outcome.NOT_APPLIED, Outcome.UNKNOWN


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK], ids=lambda code: code.name)
def test_every_status_code_has_a_rule_for_any_text(code: grpc.StatusCode) -> None:
    assert rule_for(code, "a text nobody has ever seen").text == ""


def test_every_rule_can_be_reached() -> None:
    for rule in RULES:
        assert rule_for(rule.code, rule.text) is rule


def test_texts_are_lower_case_because_they_are_compared_so() -> None:
    assert all(rule.text == rule.text.lower() for rule in RULES)


@pytest.mark.parametrize(
    ("code", "text", "error", "outcome"),
    [
        (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", StoreFullError, UNKNOWN),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", StoreBusyError, NO),
        (Code.RESOURCE_EXHAUSTED, "grpc: received message larger than max (3 vs. 2)", RequestTooLargeError, NO),
        (Code.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max (3 vs. 2)", RequestTooLargeError, UNKNOWN),
        (Code.INVALID_ARGUMENT, "etcdserver: request is too large", RequestTooLargeError, NO),
        (Code.INVALID_ARGUMENT, "etcdserver: too many operations in txn request", RequestTooLargeError, NO),
        (Code.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", RequestMalformedError, NO),
        (Code.INVALID_ARGUMENT, "etcdserver: key is not provided", RequestMalformedError, NO),
        (Code.NOT_FOUND, "etcdserver: requested lease not found", LeaseNotFoundError, NO),
        (Code.FAILED_PRECONDITION, "etcdserver: lease already exists", LeaseExistsError, NO),
        (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", RevisionCompactedError, NO),
        (Code.UNAVAILABLE, "etcdserver: leader changed", StoreUnavailableError, UNKNOWN),
        (Code.UNAVAILABLE, "etcdserver: request timed out", StoreUnavailableError, UNKNOWN),
        (Code.UNAVAILABLE, "etcdserver: no leader", StoreUnavailableError, UNKNOWN),
        (Code.UNKNOWN, "lease: not a primary lessor", StoreUnavailableError, UNKNOWN),
        (Code.UNKNOWN, "auth: permission denied", StoreDeniedError, NO),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", StoreTimeoutError, UNKNOWN),
        (Code.UNAUTHENTICATED, "etcdserver: invalid auth token", StoreDeniedError, NO),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", StoreDeniedError, NO),
        (Code.FAILED_PRECONDITION, "etcdserver: role name not found", StoreDeniedError, NO),
        (Code.FAILED_PRECONDITION, "etcdserver: user name not found", StoreDeniedError, NO),
        (Code.INVALID_ARGUMENT, "etcdserver: user name is empty", StoreDeniedError, NO),
        (Code.UNIMPLEMENTED, "unknown service etcdserverpb.KV", RequestMalformedError, NO),
    ],
)
def test_what_etcd_says_of_a_write(code: grpc.StatusCode, text: str, error: type[StoreError], outcome: Outcome) -> None:
    translated = translate(code, text, writes=True, endpoint="db:2379")
    assert type(translated) is error
    assert translated.outcome is outcome
    assert text in str(translated)
    assert "db:2379" in str(translated)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.code.name}-{rule.text}")
def test_a_read_is_never_applied(rule: object) -> None:
    assert isinstance(rule, type(RULES[0]))
    assert translate(rule.code, rule.text, writes=False, endpoint="db:2379").outcome is NO


def test_wrong_credentials_are_blamed_on_the_settings() -> None:
    text = "etcdserver: authentication failed, invalid user ID or password"
    error = translate(Code.INVALID_ARGUMENT, text, writes=False, endpoint="db:2379")
    assert type(error) is StoreDeniedError
    assert "etcd.username and etcd.password" in str(error)


@pytest.mark.parametrize(
    ("reason", "error", "retryable"),
    [
        ("rpc error: code = PermissionDenied desc = etcdserver: permission denied", StoreDeniedError, False),
        ("etcdserver: invalid auth token", StoreDeniedError, False),
        ("etcdserver: no leader", StoreUnavailableError, True),
        ("etcdserver: watch canceled", StoreUnavailableError, True),
        ("mvcc: watcher range is empty", RequestMalformedError, False),
        ("", RequestMalformedError, False),
    ],
)
def test_why_a_watch_was_cancelled(reason: str, error: type[StoreError], retryable: bool) -> None:
    translated = translate_cancellation(reason, endpoint="db:2379")
    assert type(translated) is error
    assert translated.retryable is retryable


def test_a_token_that_ran_out_is_told_from_a_missing_right() -> None:
    assert is_token_refused("etcdserver: invalid auth token")
    assert is_token_refused("etcdserver: revision of auth store is old")
    assert not is_token_refused("etcdserver: permission denied")
    assert not is_token_refused(None)
