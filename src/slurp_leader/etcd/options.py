"""The options of the connection to etcd."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints, field_validator, model_validator

from slurp_leader.etcd.endpoints import Endpoint, parse_endpoint
from slurp_leader.options import Duration, FieldError, Options, Size
from slurp_leader.store.maintenance import DEFAULT_QUOTA_BYTES


def _as_list(value: object) -> object:
    """One address, or several with commas between them, also pass for a list (the environment has only text)."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


_NonEmpty = Annotated[str, StringConstraints(min_length=1)]


class EtcdOptions(Options):
    """Where etcd is and how to talk to it."""

    section: ClassVar[str] = "etcd"

    endpoints: Annotated[list[str], BeforeValidator(_as_list)] = Field(default=["localhost:2379"])
    """Members of one cluster: ``host:port``, ``http://host:port``, ``https://host:port``, ``[::1]:2379``. At least one.
    More: survives the loss of members; costs nothing while the first one answers."""

    username: _NonEmpty | None = None
    """User of etcd. Unset: no login. A login costs etcd about 0.1 s of computing; tokens are kept in use."""

    password: SecretStr | None = None
    """Password of that user."""

    ca_file: Path | None = None
    """PEM file of the authorities that sign the members' certificates; switches TLS on. Unset with ``https``: the
    authorities that gRPC brings along."""

    cert_file: Path | None = None
    """PEM file of our own certificate, for members that ask for one (mTLS). Goes with `key_file`."""

    key_file: Path | None = None
    """PEM file of the key of `cert_file`."""

    ca_pem: str | None = Field(default=None, repr=False)
    """Text in place of `ca_file`."""

    cert_pem: str | None = Field(default=None, repr=False)
    """Text in place of `cert_file`."""

    key_pem: SecretStr | None = None
    """Text in place of `key_file`."""

    server_name: _NonEmpty | None = None
    """Name that the members' certificates carry, where it is not the host of the endpoint."""

    connect_timeout: Duration = Field(
        default=timedelta(seconds=2), ge=timedelta(milliseconds=100), le=timedelta(minutes=1)
    )
    """Longest wait for a connection to be made, TLS included. 100 ms to 1 min. Longer: slow networks are endured, an
    unreachable member is noticed and tried again later."""

    login_timeout: Duration = Field(
        default=timedelta(seconds=5), ge=timedelta(milliseconds=100), le=timedelta(minutes=1)
    )
    """Longest wait for an answer to a login, from one member. 100 ms to 1 min. Longer: an overloaded etcd is endured,
    a silent member holds up the calls that need the login."""

    keepalive_interval: Duration = Field(default=timedelta(seconds=10), ge=timedelta(seconds=10), le=timedelta(hours=1))
    """Silence after which a connection in use is checked by a ping. 10 s to 1 h (etcd cuts off who pings more often
    than every 5 s). Longer: a dead connection is noticed later where no watch runs over it."""

    watch_probe_interval: Duration = Field(
        default=timedelta(seconds=3), ge=timedelta(milliseconds=100), le=timedelta(minutes=10)
    )
    """Silence on a watch after which etcd is asked for a sign of life. 100 ms to 10 min. Longer: less traffic, a dead
    watch is noticed later."""

    watch_probe_timeout: Duration = Field(
        default=timedelta(seconds=3), ge=timedelta(milliseconds=100), le=timedelta(minutes=10)
    )
    """Longest wait for that sign; then the watch is opened anew on another member. 100 ms to 10 min. Longer: fewer
    needless reopenings while etcd stalls, a dead watch is noticed later."""

    quota_bytes: Size = Field(default=DEFAULT_QUOTA_BYTES, ge=1024**2, le=1024**4)
    """Size of the database at which etcd refuses all writes: its --quota-backend-bytes, which it tells only since 3.6.
    1 MiB to 1 TiB. More than etcd really has: jobs fill it, and nobody can be elected; less: they are refused too
    soon."""

    @field_validator("endpoints")
    @classmethod
    def _check_endpoints(cls, endpoints: list[str]) -> list[str]:
        if not endpoints:
            raise ValueError("is empty: name at least one member, such as localhost:2379")
        seen: set[str] = set()
        for number, text in enumerate(endpoints, 1):
            try:
                target = parse_endpoint(text).target
            except ValueError as error:
                raise ValueError(f"number {number} {error}") from None
            if target in seen:
                raise ValueError(f"number {number} ({target}) stands there twice: name each member once")
            seen.add(target)
        return endpoints

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if self.username is not None and self.password is None:
            raise FieldError("password", "is missing: it goes with etcd.username")
        if self.password is not None and self.username is None:
            raise FieldError("username", "is missing: it goes with etcd.password")
        return self

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        for name in ("ca", "cert", "key"):
            if getattr(self, f"{name}_file") is not None and getattr(self, f"{name}_pem") is not None:
                raise FieldError(f"{name}_pem", f"and etcd.{name}_file are both set: keep one")
        has_cert = self.cert_file is not None or self.cert_pem is not None
        has_key = self.key_file is not None or self.key_pem is not None
        if has_cert != has_key:
            missing, present = ("key_file", "cert_file") if has_cert else ("cert_file", "key_file")
            raise FieldError(missing, f"is missing: it goes with etcd.{present}")
        self._check_schemes(said_tls=has_cert or self.server_name is not None or self._has_ca)
        for name in ("ca_file", "cert_file", "key_file"):
            _check_readable(name, getattr(self, name))
        return self

    def _check_schemes(self, *, said_tls: bool) -> None:
        schemes = {endpoint.secure for endpoint in self.members}
        if {True, False} <= schemes:
            raise FieldError("endpoints", "mix http:// and https://: all members are reached in the same way")
        if False in schemes and said_tls:
            raise FieldError("endpoints", "say http://, but TLS settings are given: write https://, or remove those")
        if said_tls and not self._has_ca and True not in schemes:
            raise FieldError(
                "ca_file",
                "is missing: certificate settings need TLS; set it, or write https:// to use the usual authorities",
            )

    @property
    def _has_ca(self) -> bool:
        return self.ca_file is not None or self.ca_pem is not None

    @property
    def members(self) -> tuple[Endpoint, ...]:
        """The endpoints, parsed, in their order."""
        return tuple(parse_endpoint(text) for text in self.endpoints)

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted: ``https``, or an authority is given."""
        return self._has_ca or any(endpoint.secure for endpoint in self.members)


def _check_readable(name: str, file: Path | None) -> None:
    if file is None:
        return
    try:
        with file.open("rb") as content:
            content.read(1)
    except OSError as error:
        raise FieldError(name, f"cannot be read: {error.strerror or error} ({file})") from None
