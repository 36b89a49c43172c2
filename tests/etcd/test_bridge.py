"""The bridge to etcd3: works on the protobuf that is installed, and leaves the host program alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slurp_leader.errors import ConfigurationError
from slurp_leader.etcd import bridge


def _run(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_messages_survive_the_wire() -> None:
    rpc = bridge.load().rpc
    sent = rpc.TxnRequest(
        compare=[rpc.Compare(key=b"k", target=rpc.Compare.MOD, mod_revision=3)],
        success=[rpc.RequestOp(request_put=rpc.PutRequest(key=b"k", value=b"v", lease=7))],
    )
    received = rpc.TxnRequest.FromString(sent.SerializeToString())
    assert received == sent
    assert received.success[0].request_put.lease == 7


def test_enums_stand_where_protoc_puts_them() -> None:
    modules = bridge.load()
    assert modules.rpc.NOSPACE == modules.rpc.AlarmType.Value("NOSPACE") == 1
    assert modules.kv.Event.DELETE == 1


def test_loading_twice_gives_the_same_modules() -> None:
    assert bridge.load() == bridge.load()


def test_etcd3_itself_can_be_imported_afterwards_and_the_finder_is_gone() -> None:
    code = """
import sys
from slurp_leader.etcd import bridge
rpc = bridge.load().rpc
assert not [finder for finder in sys.meta_path if type(finder).__module__ == bridge.__name__]
import etcd3
assert etcd3.etcdrpc.RangeRequest is rpc.RangeRequest
client = etcd3.client(port=1)
client.close()
print("ok")
"""
    assert _run(code) == "ok"


def test_a_host_that_failed_to_import_etcd3_by_itself_spoils_nothing() -> None:
    code = """
try:
    import etcd3
except TypeError as error:
    assert "Descriptors cannot be created directly" in str(error)
from slurp_leader.etcd import bridge
import sys
bridge.load()
import etcd3
assert etcd3.etcdrpc.RangeRequest is bridge.load().rpc.RangeRequest
print("ok")
"""
    assert _run(code) == "ok"


def test_nothing_reaches_the_default_descriptor_pool_or_the_environment() -> None:
    code = """
import os
from google.protobuf import descriptor_pool
before = dict(os.environ)
from slurp_leader.etcd import bridge
bridge.load()
assert dict(os.environ) == before
for name in ("kv.proto", "auth.proto", "rpc.proto"):
    try:
        descriptor_pool.Default().FindFileByName(name)
    except KeyError:
        continue
    raise AssertionError(name)
print("ok")
"""
    assert _run(code) == "ok"


def test_a_host_with_its_own_proto_of_the_same_name_goes_on() -> None:
    code = """
from google.protobuf import descriptor_pb2, descriptor_pool
foreign = descriptor_pb2.FileDescriptorProto(name="rpc.proto", package="etcdserverpb")
foreign.message_type.add(name="RangeRequest")
descriptor_pool.Default().Add(foreign) if hasattr(descriptor_pool.Default(), "Add") else \
    descriptor_pool.Default().AddSerializedFile(foreign.SerializeToString())
from slurp_leader.etcd import bridge
assert bridge.load().rpc.RangeRequest(key=b"k").key == b"k"
assert not descriptor_pool.Default().FindMessageTypeByName("etcdserverpb.RangeRequest").fields
print("ok")
"""
    assert _run(code) == "ok"


def test_an_etcd3_the_host_imported_by_the_environment_variable_is_used_as_it_is() -> None:
    code = """
import warnings
warnings.simplefilter("ignore")  # the old way of protobuf is deprecated; that is the host's affair
import etcd3
from slurp_leader.etcd import bridge
assert bridge.load().rpc.RangeRequest is etcd3.etcdrpc.RangeRequest
assert bridge.load().rpc.RangeRequest(key=b"k").SerializeToString() == b"\\n\\x01k"
print("ok")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
    )  # fmt: skip
    if "Descriptors cannot be created directly" in done.stderr:
        pytest.skip("this protobuf has no pure Python implementation any more")
    assert done.stdout.strip() == "ok", done.stderr


def _fake_site(folder: Path, *, with_etcd3_py: bool) -> None:
    package = folder / "etcd3"
    package.mkdir()
    (package / "__init__.py").write_text("")
    if with_etcd3_py:
        info = folder / "etcd3_py-0.1.6.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: etcd3-py\nVersion: 0.1.6\n")


_EXPECT_REFUSAL = """
import sys
sys.path.insert(0, sys.argv[1])
from slurp_leader.errors import ConfigurationError
from slurp_leader.etcd import bridge
try:
    bridge.load()
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.parametrize(("with_etcd3_py", "message"), [(True, "etcd3-py is installed over"), (False, "etcdrpc")])
def test_a_foreign_package_named_etcd3_is_refused(tmp_path: Path, with_etcd3_py: bool, message: str) -> None:
    _fake_site(tmp_path, with_etcd3_py=with_etcd3_py)
    done = subprocess.run(
        [sys.executable, "-c", _EXPECT_REFUSAL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert message in done.stdout
    assert "etcd3==0.12.0" in done.stdout


def test_a_missing_etcd3_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="install etcd3"):
        bridge._refuse_foreign_package()


def test_text_without_a_descriptor_is_refused() -> None:
    with pytest.raises(ImportError, match="no serialized descriptor"):
        bridge.serialized_descriptor("DESCRIPTOR = None", "etcd3.etcdrpc.kv_pb2")
    assert bridge.serialized_descriptor("serialized_pb=b'\\n\\x01'", "x") == b"\n\x01"
    assert bridge.serialized_descriptor("serialized_pb=_b('\\n\\'\\xff')", "x") == b"\n'\xff"
