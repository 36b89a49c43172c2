"""What the built-in generator says of the content of a request: the same hash, the same node."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slurp_leader.errors import RetryAfterError
from slurp_leader.generators import FileContextGenerator, GitOptions
from slurp_leader.generators import history as history_module
from slurp_leader.generators.looking import NotingWorkspace
from slurp_leader.generators.repository import repository_state
from slurp_leader.generators.workspace import Workspace
from slurp_leader.jobs.request import ContextGenerationRequest

from .running import SAMPLES, Git, RunningJob, Write

DEPTHS = (0, 1, 2, 3)
FILES = ("src/shop/cart.py", "src/shop/price.py", "web/cart.ts", "cmd/main.go")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without the git configuration of whoever runs the tests."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


def asked(path: str, depth: int = 3, **fields: object) -> ContextGenerationRequest:
    return ContextGenerationRequest.build(path, max_depth=depth, **fields)


def hash_of(generator: FileContextGenerator, path: str = FILES[0], depth: int = 3) -> str | None:
    return generator.content_hash(asked(path, depth))


@pytest.fixture
def shop(root: Path, write: Write, git: Git) -> FileContextGenerator:
    write("pyproject.toml", '[project]\nname = "shop"\ndependencies = ["httpx"]\n')
    write("src/shop/__init__.py", "")
    write("src/shop/cart.py", '"""A cart."""\nimport httpx\nfrom shop.price import price\n\n\ndef total(): ...\n')
    write("src/shop/price.py", '"""Prices."""\nfrom shop import tax\n\n\ndef price(): ...\n')
    write("src/shop/tax.py", '"""Taxes."""\n')
    write("tests/test_cart.py", "from shop.cart import total\n\n\ndef test_total(): ...\n")
    write("web/cart.ts", 'import { price } from "./price";\nexport const cart = () => price();\n')
    write("web/price.ts", "export const price = () => 1;\n")
    write("go.mod", "module example.com/shop\n\ngo 1.22\n")
    write("cmd/main.go", 'package main\n\nimport "example.com/shop/pay"\n\nfunc main() { pay.Pay() }\n')
    write("pay/pay.go", "package pay\n\nfunc Pay() {}\n")
    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("commit", "--quiet", "-m", "First")
    return FileContextGenerator(root)


def test_the_same_hash_means_the_same_node_whatever_happens_around(
    shop: FileContextGenerator, root: Path, write: Write, git: Git
) -> None:
    """Each step changes something; what a request would give then is compared with all that had its hash before."""

    def commit(message: str, author: str = "Ann") -> None:
        git("add", ".")
        git("commit", "--quiet", "--allow-empty", "-m", message, author=author)

    steps: list[Callable[[], object]] = [
        lambda: None,
        lambda: write("src/shop/cart.py", (root / "src/shop/cart.py").read_bytes() + b"\n\ndef more(): ...\n"),
        lambda: commit("More", "Bob"),
        lambda: write("pyproject.toml", '[project]\nname = "shop"\ndependencies = ["httpx>=1"]\n'),
        lambda: write("src/pyproject.toml", '[project]\nname = "inner"\n'),
        lambda: (root / "src/pyproject.toml").unlink(),
        lambda: write("tests/test_cart.py", "from shop.cart import total, more\n\n\ndef test_more(): ...\n"),
        lambda: write("tests/shop/test_cart_sums.py", "import shop.cart\n\n\ndef test_sum(): ...\n"),
        lambda: (root / "tests/test_cart.py").rename(root / "tests/test_carts.py"),
        lambda: write("src/shop/price.py", '"""Prices."""\nfrom shop import coin\n\n\ndef price(): ...\n'),
        lambda: write("src/shop/coin.py", '"""Coins."""\nfrom shop import tax\n'),
        lambda: write("src/shop/coin.py", '"""Coins."""\n'),
        lambda: (root / "src/shop/price.py").rename(root / "src/shop/prices.py"),
        lambda: (root / "src/shop/prices.py").rename(root / "src/shop/price.py"),
        lambda: (root / "web/price.ts").rename(root / "web/price.tsx"),
        lambda: write("pay/cash.go", "package pay\n"),
        lambda: write("go.mod", "module example.com/other\n"),
        lambda: commit("All"),
        lambda: git("checkout", "--quiet", "-b", "side"),
        lambda: write("src/shop/cart.py", "import httpx\n"),
        lambda: commit("On the side", "Cid"),
        lambda: git("pack-refs", "--all"),
        lambda: git("commit", "--quiet", "--amend", "-m", "Amended"),
        lambda: git("pack-refs", "--all"),
        lambda: git("checkout", "--quiet", "main"),
        lambda: git("checkout", "--quiet", "--detach", "side"),
        lambda: git("reset", "--quiet", "--soft", "HEAD~1"),
        lambda: write(".mailmap", "Annette <ann@example.com>\n"),
        lambda: write(".gitattributes", "*.py binary\n"),
        lambda: write("src/.gitattributes", "*.py diff\n"),
        lambda: write(".git/info/attributes", "*.py -diff\n"),
        lambda: (root / ".git/shallow").write_text(git("rev-parse", "HEAD")),
        lambda: (root / ".git").rename(root / ".hidden"),
    ]
    nodes: dict[tuple[str, str, int], object] = {}
    seen: dict[tuple[str, int], set[str]] = {}
    for number, step in enumerate(steps):
        step()
        for path in FILES:
            for depth in DEPTHS:
                request = asked(path, depth)
                hash_of(shop, path, depth)
                shop._lapses.clear()  # a change is one, and a new generator has none
                content = hash_of(shop, path, depth)
                if content is None:
                    assert not (root / path).exists()
                    continue
                node = shop.generate(request, RunningJob()).to_wire()
                assert nodes.setdefault((content, path, depth), node) == node, f"after step {number}"
                assert FileContextGenerator(root).content_hash(request) == content, "it depends on nothing else"
                seen.setdefault((path, depth), set()).add(content)
    changed = {key: len(hashes) for key, hashes in seen.items()}
    assert changed["src/shop/cart.py", 0] < changed["src/shop/cart.py", 1] < changed["src/shop/cart.py", 3]


def test_what_does_not_count_does_not_change_it(shop: FileContextGenerator, root: Path, write: Write, git: Git) -> None:
    before = {(path, depth): hash_of(shop, path, depth) for path in FILES for depth in DEPTHS}
    os.utime(root / FILES[0], (1, 1))
    write("web/price.ts", "export const price = () => 2;\n")
    write("pay/more.go", "package pay\n")
    git("branch", "other")
    git("tag", "v1")
    assert shop.content_hash(asked(FILES[0], priority="high", force=True, role="tester")) == before[FILES[0], 3]
    for depth in (0, 1):
        assert hash_of(shop, "src/shop/price.py", depth) == before["src/shop/price.py", depth]
    write("src/shop/tax.py", '"""Other taxes."""\n')  # is followed from depth 3 on
    assert hash_of(shop, "src/shop/cart.py", 1) == before["src/shop/cart.py", 1]


@pytest.mark.parametrize("depth", DEPTHS)
def test_it_does_not_call_git_nor_parse_a_second_time(
    shop: FileContextGenerator, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hash_of(shop, depth=depth)

    def forbidden(*arguments: object, **more: object) -> None:
        raise AssertionError("that is dear")

    monkeypatch.setattr("subprocess.run", forbidden)
    monkeypatch.setattr("slurp_leader.generators.file_context.read", forbidden)
    monkeypatch.setattr("slurp_leader.generators.file_context.look_around", forbidden)
    assert hash_of(shop, depth=depth) == before


def test_a_file_that_cannot_be_worked_on_has_none(shop: FileContextGenerator, write: Write, root: Path) -> None:
    write("binary.py", b"\0")
    (root / "link.py").symlink_to(root / FILES[0])
    for path in ("missing.py", "binary.py", "link.py", "src", "../out.py"):
        assert hash_of(shop, path) is None


def test_a_node_that_git_did_not_answer_for_in_time_is_not_that_of_its_content(
    shop: FileContextGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    generator = FileContextGenerator(shop.workspace.root, git=GitOptions(timeout_s=0.1))
    before = hash_of(generator)
    with monkeypatch.context() as patched:
        patched.setattr(history_module, "_git", lambda: str(slow))
        assert generator.generate(asked(FILES[0]), RunningJob()).history is None
    after = hash_of(generator)
    assert after not in (before, None)
    assert generator.generate(asked(FILES[0]), RunningJob()).history is not None
    assert hash_of(generator) == after


@pytest.mark.parametrize("missed", ["folder", "file"])
def test_what_could_not_be_seen_for_a_moment_is_not_taken_for_not_being_there(
    shop: FileContextGenerator, monkeypatch: pytest.MonkeyPatch, missed: str
) -> None:
    before = hash_of(shop)
    whole = shop.generate(asked(FILES[0]), RunningJob())
    assert hash_of(shop) == before

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    def seldom(relative: str, *_: object) -> bytes:
        raise RetryAfterError(f"{relative}: not now", delay_s=1)

    with monkeypatch.context() as patched:
        if missed == "folder":
            patched.setattr(os, "scandir", full)
        else:
            read = shop.workspace._read_bytes
            patched.setattr(
                Workspace, "_read_bytes", lambda _, path, *most: (read if path == FILES[0] else seldom)(path, *most)
            )
        lacking = shop.generate(asked(FILES[0]), RunningJob())
        assert hash_of(shop) is None
    after = hash_of(shop)
    assert lacking.related != whole.related
    assert after not in (before, None)


@pytest.mark.parametrize("remembered", [0, 1, 256])
def test_a_node_of_content_that_was_there_for_a_moment_is_not_that_of_what_was_there_before(
    shop: FileContextGenerator, root: Path, write: Write, remembered: int
) -> None:
    """However little is remembered of files, and whatever else is asked about meanwhile."""
    generator = FileContextGenerator(shop.workspace.root, remembered_files=remembered)
    before = hash_of(generator)
    hash_of(generator, FILES[1])
    text = (root / FILES[0]).read_text()
    write(FILES[0], "import csv\n")
    generator.generate(asked(FILES[0]), RunningJob())
    write(FILES[0], text)
    after = hash_of(generator)
    assert after not in (before, None)
    assert hash_of(generator) == after


def test_what_is_worked_on_stays_known_whatever_else_is_asked_about(
    shop: FileContextGenerator, root: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurp_leader.generators.file_context._FEWEST_LOOKS", 2)
    generator = FileContextGenerator(root, remembered_files=0)
    hash_of(generator)
    hash_of(generator, FILES[1])
    before = hash_of(generator)
    hash_of(generator, FILES[2])  # one has to go: not the one that was asked about last
    text = (root / FILES[0]).read_text()
    write(FILES[0], "import csv\n")
    generator.generate(asked(FILES[0]), RunningJob())
    write(FILES[0], text)
    assert hash_of(generator) not in (before, None)


@pytest.mark.parametrize("path", [FILES[0], "src/shop/price.py", "tests/test_cart.py"])
def test_a_node_of_content_that_another_role_was_asked_about_meanwhile_is_not_that_of_what_was_there_before(
    shop: FileContextGenerator, root: Path, write: Write, path: str
) -> None:
    """The file itself, or what is around it."""
    before = hash_of(shop)
    text = (root / path).read_text()
    write(path, "import csv\n")
    assert shop.content_hash(asked(FILES[0], role="tester")) not in (before, None)
    shop.generate(asked(FILES[0]), RunningJob())  # of what is known by now
    write(path, text)
    after = hash_of(shop)
    assert after not in (before, None)
    assert hash_of(shop) == after


def test_a_change_counts_only_where_it_is_looked_at(shop: FileContextGenerator, write: Write) -> None:
    before = {depth: hash_of(shop, depth=depth) for depth in DEPTHS}
    write("src/shop/price.py", '"""Other prices."""\n')  # is read from depth 3 on
    after = {depth: hash_of(shop, depth=depth) for depth in reversed(DEPTHS)}
    assert [depth for depth in DEPTHS if before[depth] != after[depth]] == [3]


@pytest.mark.parametrize("change", ["file", "folder"])
def test_what_changes_while_one_looks_is_not_claimed(shop: FileContextGenerator, write: Write, change: str) -> None:
    noting = NotingWorkspace(shop.workspace)
    for _ in range(2):
        noting.glance("web/price.ts")
        noting.names("web")
    assert noting.look("") is not None
    write("web/price.ts" if change == "file" else "web/new.ts", "export const price = 2;\n")
    noting.glance("web/price.ts")
    noting.names("web")
    assert noting.look("") is None


def test_many_threads_get_the_same(shop: FileContextGenerator, root: Path) -> None:
    generator = FileContextGenerator(root, remembered_files=2)
    wanted = {path: hash_of(shop, path) for path in FILES}
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda path: (path, hash_of(generator, path)), FILES * 8))
    assert all(content == wanted[path] for path, content in got)


def test_without_git_its_state_does_not_count(shop: FileContextGenerator, root: Path, git: Git) -> None:
    generator = FileContextGenerator(root, git=False)
    before = hash_of(generator)
    git("commit", "--quiet", "--allow-empty", "-m", "Second")
    assert hash_of(generator) == before
    assert hash_of(generator) != hash_of(shop)


def test_a_copy_in_another_place_gives_the_same(shop: FileContextGenerator) -> None:
    assert hash_of(pickle.loads(pickle.dumps(shop))) == hash_of(shop)


def test_nothing_remembered_gives_the_same(shop: FileContextGenerator, root: Path) -> None:
    assert hash_of(FileContextGenerator(root, remembered_files=0)) == hash_of(shop)


def test_the_samples_have_one_each() -> None:
    generator = FileContextGenerator(SAMPLES, git=False)
    files = [str(path.relative_to(SAMPLES)) for path in SAMPLES.rglob("*.*") if path.is_file()]
    hashes = [hash_of(generator, path) for path in files]
    assert None not in hashes
    assert len(set(hashes)) == len(files)


# ---------------------------------------------------------------- the state of git


def test_a_linked_working_tree_has_its_own_head(
    shop: FileContextGenerator, tmp_path: Path, git: Git, root: Path
) -> None:
    linked = tmp_path / "linked"
    git("worktree", "add", "--quiet", "-b", "side", str(linked))
    before = repository_state(linked, FILES[0]), repository_state(root, FILES[0])
    git("-C", str(linked), "commit", "--quiet", "--allow-empty", "-m", "There")
    assert None not in before
    assert repository_state(linked, FILES[0]) != before[0]
    assert repository_state(root, FILES[0]) == before[1]


def test_a_repository_above_the_workspace_counts(shop: FileContextGenerator, root: Path, git: Git) -> None:
    inner = FileContextGenerator(root / "src")
    before = hash_of(inner, "shop/cart.py")
    git("commit", "--quiet", "--allow-empty", "-m", "Second")
    assert hash_of(inner, "shop/cart.py") not in (before, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_another_owner_counts_as_git_refuses_theirs(shop: FileContextGenerator, root: Path) -> None:
    before = repository_state(root, FILES[0])
    os.chown(root / ".git", 12345, 12345)
    assert repository_state(root, FILES[0]) != before


def test_the_configuration_of_the_user_counts(shop: FileContextGenerator, root: Path, home: Path) -> None:
    before = repository_state(root, FILES[0])
    (home / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
    assert repository_state(root, FILES[0]) not in (before, None)


def spoil_config(text: str) -> Callable[[Path, Git], None]:
    def spoil(root: Path, git: Git) -> None:
        with (root / ".git/config").open("a") as config:
            config.write(text)

    return spoil


def replace_commit(root: Path, git: Git) -> None:
    git("commit", "--quiet", "--allow-empty", "-m", "Second")
    git("replace", "HEAD", "HEAD~1")


def without_head(root: Path, git: Git) -> None:
    (root / ".git/HEAD").unlink()


def other_references(root: Path, git: Git) -> None:
    (root / ".git/HEAD").write_text("ref: refs/heads/.invalid\n")


def round_and_round(root: Path, git: Git) -> None:
    (root / ".git/refs/heads/main").write_text("ref: refs/heads/main\n")


def large_references(root: Path, git: Git) -> None:
    (root / ".git/packed-refs").write_bytes(b"#" * (1024 * 1024 + 1))


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_config("[include]\n\tpath = other\n"),
        spoil_config("[mailmap]\n\tfile = other\n"),
        spoil_config("[core]\n\tattributesFile = other\n"),
        spoil_config("[core]\n\tworktree = ../other\n"),
        replace_commit,
        without_head,
        other_references,
        round_and_round,
        large_references,
    ],
)
def test_where_more_counts_than_can_be_seen_nothing_is_claimed(
    shop: FileContextGenerator, root: Path, git: Git, spoil: Callable[[Path, Git], None]
) -> None:
    assert repository_state(root, FILES[0]) is not None
    spoil(root, git)
    assert repository_state(root, FILES[0]) is None
    assert hash_of(shop) is None


def test_a_repository_without_a_working_tree_is_not_known(root: Path, write: Write, git: Git) -> None:
    git("init", "--quiet", "--bare")
    write("a.py", "1\n")
    assert repository_state(root, "a.py") is None
