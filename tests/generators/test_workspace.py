"""Nothing outside the root is read, and every file that cannot be worked on is refused with its reason."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path

import pytest

from slurp_leader.errors import ConfigurationError, FileRefusedError, RetryAfterError
from slurp_leader.generators.workspace import Workspace

from .running import Write


def refusal(workspace: Workspace, path: str) -> FileRefusedError:
    with pytest.raises(FileRefusedError) as caught:
        workspace.read(path)
    assert str(caught.value)
    return caught.value


def test_a_leading_slash_means_the_root_and_the_roots_own_prefix_is_accepted(root: Path, write: Write) -> None:
    write("src/a.py", "x = 1\n")
    for spelling in ("src/a.py", "/src/a.py", "./src//a.py", f"{root}/src/a.py"):
        file = Workspace(root).read(spelling)
        assert (file.path, file.data, file.text) == ("src/a.py", b"x = 1\n", "x = 1\n")


def test_a_root_that_is_reached_through_a_link_is_the_folder_behind_it(
    root: Path, write: Write, tmp_path: Path
) -> None:
    write("a.py", "x = 1\n")
    (tmp_path / "link").symlink_to(root)
    workspace = Workspace(tmp_path / "link")
    for spelling in ("a.py", f"{tmp_path}/link/a.py", f"{root}/a.py"):
        assert workspace.read(spelling).path == "a.py"


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/..", "a/..", "..", "/../workspace/a.py"])
def test_dots_that_climb_are_refused(root: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("secret\n")
    assert refusal(Workspace(root), path).code == "outside"


def test_an_absolute_path_elsewhere_means_a_file_below_the_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    assert refusal(Workspace(root), str(tmp_path / "secret")).code == "missing"
    assert refusal(Workspace(root), "/etc/passwd").code == "missing"


def test_a_folder_whose_name_begins_like_the_root_is_not_the_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "workspace-2").mkdir()
    (tmp_path / "workspace-2" / "secret").write_text("secret\n")
    assert refusal(Workspace(root), f"{root}-2/secret").code == "missing"


def test_a_link_out_of_the_root_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    (root / "link").symlink_to(tmp_path / "secret")
    error = refusal(Workspace(root), "link")
    assert error.code == "outside"
    assert "symbolic link" in str(error)
    assert Workspace(root).glance("link") is None


def test_a_link_in_a_parent_folder_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_text("secret\n")
    (root / "folder").symlink_to(tmp_path / "other")
    error = refusal(Workspace(root), "folder/secret")
    assert error.code == "outside"
    assert "'folder'" in str(error)
    assert Workspace(root).names("folder") == {}


def test_a_link_that_stays_inside_is_refused_too_so_that_one_file_has_one_name(root: Path, write: Write) -> None:
    write("a.py", "x = 1\n")
    (root / "b.py").symlink_to("a.py")
    assert refusal(Workspace(root), "b.py").code == "outside"


def test_links_that_run_in_a_circle_are_refused(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    assert refusal(Workspace(root), "a").code == "outside"


def test_a_folder_that_becomes_a_link_while_the_path_is_walked_leads_nowhere(
    root: Path, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("src/inner/a.py", "ours\n")
    outside = tmp_path / "outside" / "inner"
    outside.mkdir(parents=True)
    (outside / "a.py").write_text("theirs\n")
    real_open = os.open

    def open_after_the_swap(path: str, flags: int, *arguments: int, dir_fd: int | None = None) -> int:
        if path == "src":  # the attacker acts right before this very call
            (root / "src").rename(root / "moved")
            (root / "src").symlink_to(tmp_path / "outside")
        return real_open(path, flags, *arguments, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", open_after_the_swap)
    assert refusal(Workspace(root), "src/inner/a.py").code == "outside"


def test_a_folder_that_is_swapped_after_it_was_opened_still_gives_our_file(
    root: Path, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("src/a.py", "ours\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.py").write_text("theirs\n")
    real_open = os.open

    def open_before_the_swap(path: str, flags: int, *arguments: int, dir_fd: int | None = None) -> int:
        if path == "a.py":
            (root / "src").rename(root / "moved")
            (root / "src").symlink_to(tmp_path / "outside")
        return real_open(path, flags, *arguments, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", open_before_the_swap)
    assert Workspace(root).read("src/a.py").text == "ours\n"


@pytest.mark.parametrize("path", ["gone.py", "gone/a.py", "a.py/b.py", "x" * 300, "a\0b"])
def test_a_file_that_is_not_there_is_refused_as_missing(root: Path, write: Write, path: str) -> None:
    write("a.py", "x = 1\n")
    assert refusal(Workspace(root), path).code == "missing"


def test_a_folder_is_refused_as_a_directory(root: Path, write: Write) -> None:
    write("src/a.py", "x = 1\n")
    for path in ("src", "src/", "/", "", ".", str(root)):
        assert refusal(Workspace(root), path).code == "directory", path


def test_a_fifo_is_refused_without_waiting_for_a_writer(root: Path) -> None:
    os.mkfifo(root / "fifo")
    assert refusal(Workspace(root), "fifo").code == "not_a_file"


def test_a_socket_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert refusal(Workspace(root), "socket").code == "not_a_file"


def test_a_device_is_refused() -> None:
    assert refusal(Workspace("/dev"), "null").code == "not_a_file"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\x7fELF\x01\x00\x00", "binary"),
        (b"text with a late NUL" + b" " * 10_000 + b"\x00", "binary"),
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        ("größe".encode("latin-1"), "encoding"),
        ("größe".encode("utf-16"), "encoding"),
        (b"\xff\xfea\x00", "encoding"),
        (b"abc\xed\xa0\x80", "encoding"),  # a lone surrogate
        (b"x" * 1001, "too_large"),
    ],
)
def test_content_that_is_no_text_is_refused_with_its_reason(
    root: Path, write: Write, content: bytes, code: str
) -> None:
    write("file", content)
    error = refusal(Workspace(root, max_bytes=1000) if code == "too_large" else Workspace(root), "file")
    assert (error.code, error.path) == (code, "file")
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.path, str(again)) == (code, "file", str(error))


def test_a_file_of_exactly_the_limit_is_read(root: Path, write: Write) -> None:
    write("file", b"x" * 1000)
    assert len(Workspace(root, max_bytes=1000).read("file").data) == 1000


def test_a_file_that_has_no_size_is_still_held_to_the_limit() -> None:
    assert refusal(Workspace("/proc/self", max_bytes=10), "environ").code in ("too_large", "empty")
    assert refusal(Workspace("/proc/self", max_bytes=10), "status").code == "too_large"


def test_a_byte_order_mark_is_no_part_of_the_text(root: Path, write: Write) -> None:
    write("file", b"\xef\xbb\xbfx = 1\n")
    assert Workspace(root).read("file").text == "x = 1\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it_is_refused(root: Path, write: Write) -> None:
    write("file", "x\n").chmod(0)
    assert refusal(Workspace(root), "file").code == "unreadable"


def test_a_machine_that_cannot_read_just_now_is_asked_again(
    root: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.py", "x = 1\n")
    workspace = Workspace(root)

    def out_of_descriptors(*_arguments: object, **_options: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", out_of_descriptors)
        with pytest.raises(RetryAfterError) as caught:
            workspace.read("a.py")
    assert caught.value.delay_s > 0


def test_a_root_that_vanished_is_a_passing_fault(root: Path) -> None:
    workspace = Workspace(root)
    root.rmdir()
    with pytest.raises(RetryAfterError):
        workspace.read("a.py")


def test_no_descriptor_stays_open(root: Path, write: Write) -> None:
    write("src/a.py", "x = 1\n")
    write("src/b.py", b"\x00")
    workspace = Workspace(root)
    before = len(os.listdir("/proc/self/fd"))
    workspace.read("src/a.py")
    workspace.names("src")
    for path in ("src/b.py", "src", "src/gone", "src/a.py/x"):
        refusal(workspace, path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_root_that_is_no_folder_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="workspace_root"):
        Workspace(tmp_path / "gone")
    with pytest.raises(ConfigurationError, match="max_bytes"):
        Workspace(tmp_path, max_bytes=0)
