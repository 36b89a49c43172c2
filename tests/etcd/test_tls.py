"""TLS and mTLS: right certificates connect, wrong ones are named by the setting that holds them."""

from __future__ import annotations

from typing import Any

import pytest

from slurp_leader.errors import Outcome, StoreDeniedError, StoreUnavailableError
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdBinary, EtcdProcess, LocalTls
from slurp_leader.store import Put, WatchEvents, WatchNotice
from support.calls import PATIENCE_S, Recorder, put

from .conftest import QUICK, Certificates, Servers

pytestmark = pytest.mark.etcd


@pytest.fixture
def mutual(binary: EtcdBinary, certificates: Certificates, servers: Servers) -> EtcdProcess:
    """An etcd that shows a certificate and asks for one."""
    tls = LocalTls(certificates.pem("server"), certificates.key("server"), certificates.pem("ca"))
    return servers.get(("mutual", binary.version), lambda: EtcdProcess(binary=binary, tls=tls, extra_args=QUICK))


@pytest.fixture
def misnamed(binary: EtcdBinary, certificates: Certificates, servers: Servers) -> EtcdProcess:
    """An etcd whose certificate is for another host, and that asks for none."""
    tls = LocalTls(certificates.pem("elsewhere"), certificates.key("elsewhere"))
    return servers.get(("misnamed", binary.version), lambda: EtcdProcess(binary=binary, tls=tls, extra_args=QUICK))


def _error(etcd: EtcdProcess, **settings: Any) -> Exception:
    with EtcdStore(EtcdOptions(endpoints=[etcd.endpoint], **settings)) as store:
        error = store.call(Put(b"k", b"v"), PATIENCE_S).exception()
        assert isinstance(error, Exception)
        return error


def test_files_and_texts_both_connect_and_watches_too(mutual: EtcdProcess, certificates: Certificates) -> None:
    files = {
        "ca_file": certificates.pem("ca"),
        "cert_file": certificates.pem("client"),
        "key_file": certificates.key("client"),
    }
    texts = {name.replace("_file", "_pem"): file.read_text() for name, file in files.items()}
    for settings in (files, texts):
        with EtcdStore(EtcdOptions(endpoints=[f"https://{mutual.endpoint}"], **settings)) as store:
            notices: Recorder[WatchNotice] = Recorder()
            store.watch(b"k", None, put(store, b"k"), notices)
            assert isinstance(notices.next(), WatchEvents)


@pytest.mark.parametrize(
    ("ca", "client", "blamed"),
    [
        ("other_ca", "client", "etcd.ca_file"),
        ("ca", None, "etcd.cert_file"),
        ("ca", "stranger", "etcd.cert_file"),
    ],
)
def test_a_wrong_certificate_is_named_by_its_setting(
    mutual: EtcdProcess, certificates: Certificates, ca: str, client: str | None, blamed: str
) -> None:
    settings: dict[str, Any] = {"ca_file": certificates.pem(ca)}
    if client is not None:
        settings |= {"cert_file": certificates.pem(client), "key_file": certificates.key(client)}
    error = _error(mutual, **settings)
    assert isinstance(error, StoreDeniedError)
    assert error.outcome is Outcome.NOT_APPLIED
    assert blamed in str(error)


def test_a_key_of_another_certificate_is_named_by_its_setting(mutual: EtcdProcess, certificates: Certificates) -> None:
    error = _error(
        mutual,
        ca_file=certificates.pem("ca"),
        cert_file=certificates.pem("client"),
        key_file=certificates.key("stranger"),
    )
    assert isinstance(error, StoreDeniedError)
    assert "etcd.key_file" in str(error)


def test_a_certificate_for_another_host_is_refused_until_its_name_is_set(
    misnamed: EtcdProcess, certificates: Certificates
) -> None:
    error = _error(misnamed, ca_file=certificates.pem("ca"))
    assert isinstance(error, StoreDeniedError)
    assert "etcd.server_name" in str(error)
    named = EtcdOptions(endpoints=[misnamed.endpoint], ca_file=certificates.pem("ca"), server_name="elsewhere.example")
    with EtcdStore(named) as store:
        assert put(store, b"k") > 0


def test_tls_on_one_side_only_is_hinted_at(misnamed: EtcdProcess, certificates: Certificates) -> None:
    error = _error(misnamed)
    assert isinstance(error, StoreUnavailableError)
    assert "https://" in str(error)


def test_tls_to_a_plain_member_is_hinted_at(own_etcd: EtcdProcess, certificates: Certificates) -> None:
    error = _error(own_etcd, ca_file=certificates.pem("ca"))
    assert isinstance(error, StoreUnavailableError)
    assert "http://" in str(error)
