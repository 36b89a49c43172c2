"""What etcd and gRPC say when they refuse, in our words: one table, read from the top, first match counts.

Each rule answers three questions about a failed *write*: which error, may it have been applied, and what should a
person look at. A failed read was never applied, whatever the table says.

`Outcome.UNKNOWN` is the rule, `NOT_APPLIED` the exception that needs a reason: etcd answers some refusals after it has
written (NOSPACE at the edge of the quota, "leader changed", "timed out"), and a lost connection tells nothing.

Source: `api/v3rpc/rpctypes/error.go` of etcd 3.4 and 3.5; texts of gRPC as seen with grpcio 1.66 and 1.85.
"""

from __future__ import annotations

from dataclasses import dataclass

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
from slurp_leader.etcd.grpc_runtime import grpc

_Code = grpc.StatusCode
_NO, _UNKNOWN = Outcome.NOT_APPLIED, Outcome.UNKNOWN

_CREDENTIALS = "check etcd.username and etcd.password"
_ROLE = "give the role of etcd.username the keys it needs"
_ROOT = "that takes a user with the role root: set etcd.username and etcd.password to one"
_OUR_CERTIFICATE = "the member refused our certificate, or wants one: check etcd.cert_file and etcd.key_file"
_OTHER_HOST = "the member's certificate is for another host: set etcd.server_name to the name it carries"
_OUR_FILES = "etcd.ca_file, etcd.cert_file or etcd.key_file is not PEM, or the key is not the certificate's"
_ONE_SIDED = "the member hangs up on a new connection: https:// and http:// mixed up in etcd.endpoints?"
_NO_ETCD = "what answers there is not etcd 3: check etcd.endpoints"


@dataclass(frozen=True, slots=True)
class Rule:
    """Status code and a part of the message (lower case, empty for any) -> error, outcome of a write, hint."""

    code: grpc.StatusCode
    text: str
    error: type[StoreError]
    outcome: Outcome
    hint: str = ""


RULES: tuple[Rule, ...] = (
    # ---- the connection; nothing was sent when no connection could be made
    Rule(
        _Code.UNAVAILABLE,
        "certificate_verify_failed",
        StoreDeniedError,
        _NO,
        "etcd.ca_file holds no authority that signed the member's certificate",
    ),
    Rule(_Code.UNAVAILABLE, "hostname verification check failed", StoreDeniedError, _NO, _OTHER_HOST),
    Rule(_Code.UNAVAILABLE, "not in peer certificate", StoreDeniedError, _NO, _OTHER_HOST),
    Rule(_Code.UNAVAILABLE, "failed to create security handshaker", StoreDeniedError, _NO, _OUR_FILES),
    Rule(_Code.UNAVAILABLE, "empty address list", StoreDeniedError, _NO, _OUR_FILES),  # the same from an older gRPC
    Rule(_Code.UNAVAILABLE, "alert_bad_certificate", StoreDeniedError, _NO, _OUR_CERTIFICATE),
    Rule(_Code.UNAVAILABLE, "alert_certificate_required", StoreDeniedError, _NO, _OUR_CERTIFICATE),
    Rule(_Code.UNAVAILABLE, "alert_unknown_ca", StoreDeniedError, _NO, _OUR_CERTIFICATE),
    # TLS 1.3: the refusal of our certificate arrives after the handshake and shows as this.
    Rule(_Code.UNAVAILABLE, "unwrap failed (tsi_data_corrupted)", StoreDeniedError, _NO, _OUR_CERTIFICATE),
    Rule(_Code.UNAVAILABLE, "handshake read failed", StoreUnavailableError, _UNKNOWN, _ONE_SIDED),
    Rule(_Code.UNAVAILABLE, "last error: unavailable", StoreUnavailableError, _UNKNOWN, _ONE_SIDED),
    Rule(_Code.UNAVAILABLE, "errors resolving", StoreUnavailableError, _UNKNOWN, "check the host in etcd.endpoints"),
    Rule(_Code.UNAVAILABLE, "dns resolution failed", StoreUnavailableError, _UNKNOWN, "check etcd.endpoints"),
    # "no leader", "leader changed", "request timed out", "server stopped", "unhealthy cluster", connection lost ...
    Rule(_Code.UNAVAILABLE, "", StoreUnavailableError, _UNKNOWN),
    Rule(_Code.DEADLINE_EXCEEDED, "", StoreTimeoutError, _UNKNOWN),
    Rule(_Code.CANCELLED, "", StoreUnavailableError, _UNKNOWN),
    # ---- who we are
    Rule(_Code.UNAUTHENTICATED, "", StoreDeniedError, _NO, _CREDENTIALS),
    Rule(_Code.PERMISSION_DENIED, "", StoreDeniedError, _NO, _ROLE),
    Rule(_Code.INVALID_ARGUMENT, "authentication failed", StoreDeniedError, _NO, _CREDENTIALS),
    Rule(_Code.INVALID_ARGUMENT, "user name is empty", StoreDeniedError, _NO, "etcd wants a login: set etcd.username"),
    Rule(_Code.INVALID_ARGUMENT, "revision of auth store is old", StoreDeniedError, _NO, _CREDENTIALS),
    Rule(_Code.INVALID_ARGUMENT, "invalid auth management", StoreDeniedError, _NO, _ROLE),
    Rule(_Code.FAILED_PRECONDITION, "user name not found", StoreDeniedError, _NO, _CREDENTIALS),
    Rule(_Code.FAILED_PRECONDITION, "role name not found", StoreDeniedError, _NO, _ROLE),
    Rule(_Code.FAILED_PRECONDITION, "role is not granted", StoreDeniedError, _NO, _ROLE),
    Rule(_Code.FAILED_PRECONDITION, "authentication is not enabled", StoreDeniedError, _NO, "etcd knows no users"),
    # ---- how much fits
    # Seen: of the writes refused with this, a few had been applied (etcd issue 16659).
    Rule(_Code.RESOURCE_EXHAUSTED, "database space exceeded", StoreFullError, _UNKNOWN),
    Rule(_Code.RESOURCE_EXHAUSTED, "too many requests", StoreBusyError, _NO),
    # The answer, not the question, was too large for us: it was carried out.
    Rule(
        _Code.RESOURCE_EXHAUSTED,
        "client: received message larger than max",
        RequestTooLargeError,
        _UNKNOWN,
        "the answer is too large: read in pages",
    ),
    Rule(_Code.RESOURCE_EXHAUSTED, "received message larger than max", RequestTooLargeError, _NO),
    Rule(_Code.RESOURCE_EXHAUSTED, "", StoreBusyError, _UNKNOWN),
    Rule(_Code.INVALID_ARGUMENT, "request is too large", RequestTooLargeError, _NO),
    Rule(_Code.INVALID_ARGUMENT, "too many operations in txn request", RequestTooLargeError, _NO),
    # ---- its form: duplicate key, empty key ...
    Rule(_Code.INVALID_ARGUMENT, "", RequestMalformedError, _NO),
    Rule(_Code.OUT_OF_RANGE, "has been compacted", RevisionCompactedError, _NO),
    Rule(_Code.OUT_OF_RANGE, "", RequestMalformedError, _NO),  # a future revision, a TTL beyond the limit
    Rule(_Code.UNIMPLEMENTED, "", RequestMalformedError, _NO, _NO_ETCD),
    # ---- leases
    Rule(_Code.NOT_FOUND, "lease not found", LeaseNotFoundError, _NO),
    Rule(_Code.FAILED_PRECONDITION, "lease already exists", LeaseExistsError, _NO),
    # ---- the rest: etcd does not use these codes today, or only for what we never ask
    Rule(_Code.FAILED_PRECONDITION, "not leader", StoreUnavailableError, _UNKNOWN),
    Rule(_Code.FAILED_PRECONDITION, "learner", StoreUnavailableError, _NO, "a learner takes no requests"),
    Rule(_Code.FAILED_PRECONDITION, "", StoreError, _UNKNOWN),
    Rule(_Code.UNKNOWN, "auth: permission denied", StoreDeniedError, _NO, _ROOT),  # of a defragmentation
    Rule(_Code.UNKNOWN, "not a primary lessor", StoreUnavailableError, _UNKNOWN),
    Rule(_Code.UNKNOWN, "", StoreUnavailableError, _UNKNOWN),
    Rule(_Code.INTERNAL, "", StoreUnavailableError, _UNKNOWN),
    Rule(_Code.ABORTED, "", StoreUnavailableError, _UNKNOWN),
    Rule(_Code.NOT_FOUND, "", StoreError, _UNKNOWN),
    Rule(_Code.ALREADY_EXISTS, "", StoreError, _UNKNOWN),
    Rule(_Code.DATA_LOSS, "", StoreError, _UNKNOWN, "etcd found its members' data to differ (CORRUPT alarm)"),
)

_NO_ANSWER = {_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED, _Code.CANCELLED, _Code.UNKNOWN, _Code.INTERNAL, _Code.ABORTED}

_CANCELLATIONS = (
    ("permission denied", _Code.PERMISSION_DENIED),
    ("invalid auth token", _Code.UNAUTHENTICATED),
    ("revision of auth store is old", _Code.UNAUTHENTICATED),
    ("user name is empty", _Code.UNAUTHENTICATED),
    ("leader", _Code.UNAVAILABLE),
    ("watch canceled", _Code.UNAVAILABLE),
    ("watcher has been closed", _Code.UNAVAILABLE),
)

_TOKEN_TEXTS = ("invalid auth token", "revision of auth store is old", "user name is empty")


def translate(code: grpc.StatusCode, details: str | None, *, writes: bool, endpoint: str) -> StoreError:
    """Say in our words why a call failed.

    Args:
        code: gRPC's status, not OK.
        details: gRPC's or etcd's message.
        writes: Whether the call could change anything.
        endpoint: The member that was asked, for the message.
    """
    text = details or ""
    rule = rule_for(code, text)
    message = f"etcd at {endpoint}: {code.name}: {text or 'no message'}"
    if rule.hint:
        message = f"{message} ({rule.hint})"
    return rule.error(message, outcome=rule.outcome if writes else _NO, endpoint=endpoint)


def translate_cancellation(reason: str, *, endpoint: str) -> StoreError:
    """Say in our words why etcd cancelled a watch. It gives a text only, and the code, if any, is a part of it."""
    code = next((code for text, code in _CANCELLATIONS if text in reason.lower()), _Code.INVALID_ARGUMENT)
    return translate(code, reason or "the watch was cancelled", writes=False, endpoint=endpoint)


def rule_for(code: grpc.StatusCode, details: str) -> Rule:
    """The first rule that fits."""
    text = details.lower()
    for rule in RULES:
        if rule.code is code and rule.text in text:
            return rule
    raise AssertionError(f"no rule for {code}")  # a test proves that every code but OK has one


def is_token_refused(details: str | None) -> bool:
    """Whether a new login may help: the token ran out, or users and roles were changed since it was given.

    Such a request was refused before it was looked at, so it may be sent again.
    """
    text = (details or "").lower()
    return any(known in text for known in _TOKEN_TEXTS)


def should_change_member(code: grpc.StatusCode) -> bool:
    """Whether another member may do better: this one is silent, cut off, or cannot be reached in this way."""
    return code in _NO_ANSWER
