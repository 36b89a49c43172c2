"""Every wrong setting is refused with its name and the fix, and no secret is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slurp_leader.errors import ConfigurationError
from slurp_leader.etcd.endpoints import Endpoint, parse_endpoint
from slurp_leader.etcd.options import EtcdOptions


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("localhost:2379", Endpoint("localhost", 2379)),
        ("http://10.0.0.1:2379", Endpoint("10.0.0.1", 2379, secure=False)),
        ("HTTPS://Etcd-1.Example.org:1/", Endpoint("etcd-1.example.org", 1, secure=True)),
        ("[::1]:2379", Endpoint("[::1]", 2379)),
        ("https://[fe80::1]:65535", Endpoint("[fe80::1]", 65535, secure=True)),
    ],
)
def test_addresses_are_read_as_people_write_them(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    ("endpoints", "message"),
    [
        ([], "name at least one member"),
        (["localhost"], "number 1 is not an address: write host:port"),
        (["localhost:2379", "::1:2379"], "number 2 is not an address"),
        (["localhost:0"], "port 0: ports go from 1 to 65535"),
        (["localhost:70000"], "port 70000"),
        (["ftp://localhost:2379"], "scheme 'ftp'"),
        (["localhost:2379", "http://LOCALHOST:2379"], "number 2 (localhost:2379) stands there twice"),
        (["http://a:1", "https://b:1"], "mix http:// and https://"),
        (["a:1/path"], "is not an address"),
    ],
)
def test_a_wrong_endpoint_is_named_with_the_fix(endpoints: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EtcdOptions(endpoints=endpoints)
    assert message in str(caught.value)
    assert str(caught.value).startswith("etcd.endpoints")


@pytest.mark.parametrize(
    ("settings", "field", "message"),
    [
        ({"username": "u"}, "etcd.password", "goes with etcd.username"),
        ({"password": "p"}, "etcd.username", "goes with etcd.password"),
        ({"ca_pem": "x", "cert_pem": "x"}, "etcd.key_file", "goes with etcd.cert_file"),
        ({"ca_pem": "x", "key_pem": "x"}, "etcd.cert_file", "goes with etcd.key_file"),
        ({"cert_pem": "x", "key_pem": "x"}, "etcd.ca_file", "write https://"),
        ({"ca_pem": "x", "endpoints": ["http://a:1"]}, "etcd.endpoints", "write https://"),
        ({"ca_file": "/nowhere/ca.pem"}, "etcd.ca_file", "No such file"),
        ({"ca_file": "/"}, "etcd.ca_file", "Is a directory"),
        ({"ca_file": "/nowhere/ca.pem", "ca_pem": "x"}, "etcd.ca_pem", "keep one"),
        ({"watch_probe_interval": 0}, "etcd.watch_probe_interval", "greater than"),
        ({"keepalive_interval": "5s"}, "etcd.keepalive_interval", "greater than"),
        ({"pasword": "hunter2"}, "etcd.pasword", "did you mean 'password'"),
    ],
)
def test_a_wrong_setting_is_named_with_the_fix(settings: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EtcdOptions(**settings)
    assert str(caught.value).startswith(field)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    secret = tmp_path / "key.pem"
    secret.write_text("x")
    secret.chmod(0)
    try:
        secret.read_text()
    except PermissionError:
        with pytest.raises(ConfigurationError, match=r"etcd.key_file: cannot be read: Permission denied"):
            EtcdOptions(ca_pem="x", cert_pem="x", key_file=secret)
    else:
        pytest.skip("this user reads every file")


def test_secrets_do_not_show() -> None:
    options = EtcdOptions(
        endpoints="https://a:1, b:2", username="u", password="hunter2", cert_pem="CERT", key_pem="KEYKEY"
    )
    assert "hunter2" not in repr(options)
    assert "KEYKEY" not in repr(options)
    assert options.endpoints == ["https://a:1", "b:2"]
    assert options.uses_tls


def test_plain_endpoints_without_certificates_are_not_encrypted() -> None:
    assert not EtcdOptions().uses_tls
    assert not EtcdOptions(endpoints=["http://a:1"]).uses_tls
    assert EtcdOptions(ca_pem="x").uses_tls
