"""User and password: one login for all, again when a token runs out, and plain words when it is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from slurp_leader.errors import Outcome, StoreDeniedError, StoreTimeoutError
from slurp_leader.etcd import EtcdOptions, EtcdStore, bridge
from slurp_leader.etcd.local import EtcdBinary, EtcdProcess
from slurp_leader.store import Get, Grant, KeepAlive, Put, Revoke, Txn, WatchEvents, WatchFailed, WatchNotice
from support.calls import PATIENCE_S, Recorder, do, new_lease_id, put
from support.waiting import until

from .conftest import QUICK, Servers, repair
from .scripted import ScriptedMember, answer_at

pytestmark = pytest.mark.etcd

PASSWORD = "correct-horse"


class Administrator:
    """Manages users and roles of one etcd as root, with the plain stubs."""

    def __init__(self, endpoint: str) -> None:
        etcd = bridge.load()
        self._rpc = etcd.rpc
        self._channel = grpc.insecure_channel(endpoint)
        self._stub = etcd.stubs.AuthStub(self._channel)
        self._metadata: list[tuple[str, str]] = []

    def __enter__(self) -> Administrator:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def do(self, method: str, request: str, **fields: Any) -> Any:
        message = getattr(self._rpc, request)(**fields)
        return getattr(self._stub, method)(message, timeout=PATIENCE_S, metadata=self._metadata)

    def add_user(self, name: str, role: str) -> None:
        self.do("UserAdd", "AuthUserAddRequest", name=name, password=PASSWORD)
        self.do("UserGrantRole", "AuthUserGrantRoleRequest", user=name, role=role)

    def grant(self, role: str, start: bytes, end: bytes) -> None:
        permission = {"permType": 2, "key": start, "range_end": end}  # READWRITE
        self.do("RoleGrantPermission", "AuthRoleGrantPermissionRequest", name=role, perm=permission)

    def switch_on(self) -> None:
        self.do("RoleAdd", "AuthRoleAddRequest", name="root")
        self.add_user("root", "root")
        self.do("RoleAdd", "AuthRoleAddRequest", name="app")
        self.grant("app", b"app/", b"app0")
        self.add_user("app", "app")
        self.do("AuthEnable", "AuthEnableRequest")
        self.log_in()

    def log_in(self) -> None:
        answer = self.do("Authenticate", "AuthenticateRequest", name="root", password=PASSWORD)
        self._metadata = [("token", answer.token)]


# Tokens run out after a second without use.
_TOKENS = (*QUICK, "--auth-token-ttl=1", "--bcrypt-cost=4")


@contextmanager
def _guarded(binary: EtcdBinary) -> Iterator[EtcdProcess]:
    with EtcdProcess(binary=binary, extra_args=_TOKENS) as etcd, Administrator(etcd.endpoint) as administrator:
        administrator.switch_on()
        yield etcd


@pytest.fixture
def guarded(binary: EtcdBinary, servers: Servers) -> EtcdProcess:
    """An etcd with users."""
    etcd = servers.get(("guarded", binary.version), lambda: _guarded(binary))
    repair(etcd)
    return etcd


@pytest.fixture
def store(guarded: EtcdProcess) -> Iterator[EtcdStore]:
    with EtcdStore(_options(guarded)) as made:
        yield made


def _options(etcd: EtcdProcess, username: str = "app", password: str = PASSWORD, **more: Any) -> EtcdOptions:
    return EtcdOptions(endpoints=[etcd.endpoint], username=username, password=password, **more)


class Logins:
    """Counts the logins of a store, and passes them on."""

    def __init__(self, store: EtcdStore) -> None:
        self.count = 0
        member = store._members.in_use()
        self._real = member.authenticate
        member.authenticate = self

    def future(self, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        return self._real.future(*arguments, **options)


def _spoil_token(store: EtcdStore) -> None:
    """What a token that ran out looks like to the server, without waiting for it."""
    assert store._login is not None
    store._login._token = "gone.1"


def test_the_first_call_logs_in_and_later_ones_use_that_token(store: EtcdStore) -> None:
    logins = Logins(store)
    put(store, b"app/k")
    assert do(store, Get(b"app/k")).count == 1
    assert logins.count == 1


def test_a_hundred_calls_at_once_make_one_login(store: EtcdStore) -> None:
    logins = Logins(store)
    for _ in range(2):
        calls = [store.call(Put(b"app/%d" % number, b"v"), PATIENCE_S) for number in range(100)]
        assert all(call.result() for call in calls)
        _spoil_token(store)
    calls = [store.call(Get(b"app/%d" % number), PATIENCE_S) for number in range(100)]
    assert all(call.result().count == 1 for call in calls)
    assert logins.count == 3


def test_a_token_that_really_ran_out_is_renewed(store: EtcdStore) -> None:
    put(store, b"app/k")
    assert store._login is not None
    token = store._login.token
    with EtcdStore.from_client(_HostClient(store, token)) as stale:  # sends this token and no other

        def has_run_out() -> bool:
            threading.Event().wait(2.3)  # each use would keep the token alive for another second
            return stale.call(Get(b"app/k"), PATIENCE_S).exception() is not None

        until(has_run_out)
        with pytest.raises(StoreDeniedError, match=r"etcd\.username"):
            do(stale, Get(b"app/k"))
    assert do(store, Get(b"app/k")).count == 1
    assert store._login.token != token


class _HostClient:
    """As much of an `etcd3.Etcd3Client` as is used of one that has logged in."""

    def __init__(self, store: EtcdStore, token: str | None) -> None:
        self.channel = store._members.in_use()._channel
        self.metadata = (("token", token),)


@pytest.mark.parametrize("kind", ["txn", "keepalive", "grant"])
def test_every_kind_of_call_gets_a_new_token(store: EtcdStore, kind: str) -> None:
    lease = new_lease_id()
    put(store, b"app/k")
    do(store, Grant(lease, 30))
    _spoil_token(store)
    if kind == "txn":
        assert do(store, Txn(success=(Put(b"app/k", b"w"),))).succeeded
    elif kind == "keepalive":
        assert do(store, KeepAlive(lease)).ttl_s == 30
    else:
        do(store, Revoke(lease))
        assert do(store, Grant(lease, 30)).lease_id == lease


def test_a_change_of_roles_is_no_refusal(store: EtcdStore, guarded: EtcdProcess) -> None:
    put(store, b"app/k")
    with Administrator(guarded.endpoint) as administrator:
        for number in range(5):  # each makes every token a little older than the roles
            administrator.log_in()
            administrator.grant("app", b"more/%d/" % number, b"more/%d0" % number)
            put(store, b"app/k")
    put(store, b"more/1/k")


def test_a_watch_is_opened_with_a_new_token_when_its_own_ran_out(store: EtcdStore) -> None:
    revision = put(store, b"app/k")
    _spoil_token(store)
    notices: Recorder[WatchNotice] = Recorder()
    store.watch(b"app/", b"app0", revision, notices)
    notice = notices.next()
    assert isinstance(notice, WatchEvents)
    assert notice.revision == revision


def test_a_watch_over_keys_we_may_not_read_ends_for_good(store: EtcdStore) -> None:
    notices: Recorder[WatchNotice] = Recorder()
    store.watch(b"other/", b"other0", 0, notices)
    notice = notices.next()
    assert isinstance(notice, WatchFailed)
    assert isinstance(notice.error, StoreDeniedError)
    assert "permission denied" in str(notice.error)


def test_keys_we_may_not_write_are_refused_by_role(store: EtcdStore) -> None:
    with pytest.raises(StoreDeniedError, match=r"role of etcd\.username") as caught:
        put(store, b"other/k")
    assert caught.value.outcome is Outcome.NOT_APPLIED


def test_wrong_credentials_are_blamed_on_the_settings_and_not_tried_over_and_over(
    guarded: EtcdProcess,
) -> None:
    with EtcdStore(_options(guarded, password="wrong-battery")) as store:
        logins = Logins(store)
        for _ in range(20):
            with pytest.raises(StoreDeniedError, match=r"etcd\.username and etcd\.password") as caught:
                put(store, b"app/k")
            assert "battery" not in str(caught.value)
            assert caught.value.outcome is Outcome.NOT_APPLIED
        assert logins.count < 20
        assert "battery" not in repr(store._around)


def test_a_missing_login_is_asked_for(guarded: EtcdProcess) -> None:
    with (
        EtcdStore(EtcdOptions(endpoints=[guarded.endpoint])) as store,
        pytest.raises(StoreDeniedError, match=r"set etcd\.username"),
    ):
        put(store, b"app/k")


def test_an_etcd_without_users_takes_us_all_the_same_and_later_with_them(binary: EtcdBinary) -> None:
    with (
        EtcdProcess(binary=binary, extra_args=_TOKENS) as etcd,
        EtcdStore(_options(etcd)) as store,
        Administrator(etcd.endpoint) as administrator,
    ):
        put(store, b"app/k")
        administrator.switch_on()
        assert do(store, Get(b"app/k")).count == 1


def test_a_login_that_hangs_does_not_outlast_the_deadline_of_the_call(
    guarded: EtcdProcess,
) -> None:
    with EtcdStore(_options(guarded, login_timeout=60)) as store:
        guarded.pause()
        calls = [store.call(Put(b"app/k", b"v"), timeout_s) for timeout_s in (0.2, 0.4)]
        for call in calls:
            error = call.exception(timeout=PATIENCE_S)
            assert isinstance(error, StoreTimeoutError)
            assert error.outcome is Outcome.NOT_APPLIED
        guarded.resume()
        put(store, b"app/k")


def test_a_member_at_which_a_login_hung_is_not_asked_first_again() -> None:
    """Calls have less time than a login: each of them would give up, and the next one begin where it had."""
    over = threading.Event()
    answer = answer_at(5)

    def serve(method: str) -> Any:
        return bridge.load().rpc.AuthenticateResponse(token="t") if method == "Authenticate" else answer(method)

    def hang(method: str) -> Any:
        over.wait(PATIENCE_S)
        return serve(method)

    with ScriptedMember(hang) as silent, ScriptedMember(serve) as serving:
        options = EtcdOptions(
            endpoints=[silent.endpoint, serving.endpoint], username="app", password=PASSWORD, login_timeout=60
        )
        with EtcdStore(options) as store:
            assert isinstance(store.call(Put(b"app/k", b"v"), 0.3).exception(), StoreTimeoutError)
            assert put(store, b"app/k") == 5
        over.set()


def test_who_comes_just_as_a_login_is_given_up_gets_one_of_his_own(guarded: EtcdProcess) -> None:
    with EtcdStore(_options(guarded, login_timeout=60)) as store:
        login, clock = store._login, store._around.clock
        assert login is not None
        tokens: list[str | None] = []
        done = threading.Event()

        def second_answered(error: Exception | None) -> None:
            tokens.append(login.token)
            done.set()

        def first_gave_up(error: Exception | None) -> None:
            assert isinstance(error, StoreTimeoutError)
            login.renew(None, clock.boottime() + PATIENCE_S, second_answered)
            guarded.resume()

        guarded.pause()
        login.renew(None, clock.boottime() + 0.2, first_gave_up)
        assert done.wait(PATIENCE_S)
        assert tokens == [login.token]
        assert login.token


def test_closing_ends_a_login_that_hangs(guarded: EtcdProcess) -> None:
    store = EtcdStore(_options(guarded, login_timeout=60))
    guarded.pause()
    call = store.call(Put(b"app/k", b"v"), 60.0)
    notices: Recorder[WatchNotice] = Recorder()
    store.watch(b"app/", b"app0", 0, notices)
    closer = threading.Thread(target=store.close)
    closer.start()
    closer.join(PATIENCE_S)
    assert not closer.is_alive()
    assert call.exception(timeout=PATIENCE_S) is not None
    assert isinstance(notices.next(), WatchFailed)
