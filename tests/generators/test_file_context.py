"""The whole generator: nodes that say something, the same ones every time, and none for what it must not read."""

from __future__ import annotations

import json
import shutil
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurp_leader.errors import ConfigurationError, FileRefusedError, JobInterrupted
from slurp_leader.generators import FileContextGenerator, Generator, GitOptions
from slurp_leader.generators.insights import MOST, VIEWS, view_for
from slurp_leader.jobs.request import ContextGenerationRequest
from slurp_leader.jobs.result import ContextNode

from .running import SAMPLES, Git, RunningJob, Write

SUFFIXES = ["py", "go", "js", "ts", "tsx", "rs", "java", "c", "h", "md", "rst", "yaml", "toml", "json", "sh", "sql"]
SUFFIXES += ["proto", "kt", "css", "html", "ini", "tf", "txt", "unknown"]
SOURCES = [
    "path/to/file.go",
    "jobs/retry.py",
    "web/client.ts",
    "web/backoff.js",
    "engine/src/lib.rs",
    "native/ring.c",
    "service/src/main/java/org/example/queue/RequestQueue.java",
]


def node_of(generator: FileContextGenerator, path: str, **fields: object) -> ContextNode:
    return generator.generate(ContextGenerationRequest.build(path, **fields), RunningJob())


@pytest.fixture
def samples() -> FileContextGenerator:
    return FileContextGenerator(SAMPLES, git=False)


def test_it_is_a_generator(samples: FileContextGenerator) -> None:
    assert isinstance(samples, Generator)


def test_the_node_of_the_sample_that_the_description_asks_about(samples: FileContextGenerator) -> None:
    request = ContextGenerationRequest(
        ucxl_address="ucxl://example.com/path/to/file", file_path="/path/to/file.go", role="developer"
    )
    node = samples.generate(request, RunningJob())
    assert (node.path, node.language, node.lines, node.specificity) == ("path/to/file.go", "Go", 75, 3)
    assert node.ucxl_address == "ucxl://any:any@example.com:any/*^/path/to/file"
    assert node.ucxl_raw == "ucxl://example.com/path/to/file"
    assert node.summary.startswith("Package limiter keeps a service from taking more requests than it can work on. Go")
    assert "1 struct (`Limiter`), 1 interface (`Waiter`) and 1 function (`New`)" in node.summary
    assert "A Limiter hands out a fixed number of slots." in node.purpose
    assert node.insights[0] == (
        "Offers `Limiter` (lines 23-27: Do and Refused); `Waiter` (lines 30-32); `New()` (line 35)."
    )
    assert any("path/to/file_test.go" in insight for insight in node.insights)
    assert any("LIMITER_SLOTS" in insight for insight in node.insights)
    assert node.confidence == pytest.approx(sum(one.weight for one in node.evidence))


@pytest.mark.parametrize("path", SOURCES)
def test_every_role_is_told_something_else(samples: FileContextGenerator, path: str) -> None:
    told = {role: node_of(samples, path, role=role).insights for role in VIEWS}
    assert len(set(told.values())) == len(VIEWS)
    for role, insights in told.items():
        assert 1 <= len(insights) <= MOST, role
        assert len(set(insights)) == len(insights)
        for insight in insights:
            assert not insight[0].islower()
            assert insight.endswith(".")


@pytest.mark.parametrize("path", SOURCES)
def test_the_lines_that_insights_name_exist(samples: FileContextGenerator, path: str) -> None:
    node = node_of(samples, path, role="developer")
    for symbol in node.symbols:
        assert 1 <= symbol.line <= symbol.end_line <= node.lines
    lines = (SAMPLES / path).read_text().split("\n")
    for symbol in node.symbols:
        assert any(symbol.name in line for line in lines[symbol.line - 1 : symbol.end_line])


@pytest.mark.parametrize(
    ("role", "view"),
    [
        ("developer", "developer"),
        ("backend_developer", "developer"),
        ("senior_software_architect", "architect"),
        ("security_engineer", "security"),
        ("qa_lead", "tester"),
        ("sre", "operations"),
        ("code-reviewer", "reviewer"),
        ("observer", "general"),
        ("general", "general"),
    ],
)
def test_roles_as_people_name_them_find_their_view(role: str, view: str) -> None:
    assert view_for(role) == view


def test_security_is_told_of_dangers_with_their_lines_and_never_the_secret(root: Path, write: Write) -> None:
    write(
        "a.py", 'import pickle\n\nAPI_KEY = "sk-live-0123456789"\n\n\ndef load(data):\n    return pickle.loads(data)\n'
    )
    node = node_of(FileContextGenerator(root), "a.py", role="security")
    assert any(insight.startswith("Line 7: unpickles") for insight in node.insights)
    assert any(insight.startswith("Line 3: looks like a secret") for insight in node.insights)
    assert "sk-live" not in json.dumps(node.to_wire())


def test_a_reviewer_is_told_of_long_and_branched_functions(root: Path, write: Write) -> None:
    body = "".join(f"    if x == {number}:\n        return {number}\n" for number in range(40))
    write("a.py", f"def big(x):\n{body}\n\ndef small():\n    pass\n")
    insights = node_of(FileContextGenerator(root), "a.py", role="reviewer").insights
    assert "`big` (lines 1-81) takes 40 decisions; 12 is a lot." in insights
    assert "Longer than 60 lines: `big` (81 lines from 1)." in insights


def test_an_architect_is_told_where_imports_come_from(root: Path, write: Write) -> None:
    write("pyproject.toml", '[project]\nname = "shop"\nrequires-python = ">=3.11"\ndependencies = ["httpx==0.27"]\n')
    write("src/shop/__init__.py", '"""Shop."""\n')
    write("src/shop/db/store.py", "x = 1\n")
    write("src/shop/web.py", "import os\n\nimport httpx\n\nfrom shop.db import store\n\nCACHE = {}\ncache = {}\n")
    node = node_of(FileContextGenerator(root), "src/shop/web.py", role="architect")
    assert "Imports 3 modules: 1 of the standard library, 1 of the project and 1 of others." in node.insights
    assert "Reaches into 1 other folder of the project: src/shop/db (1)." in node.insights
    assert "Mutable state at module level (line 8): shared by all threads and all tests." in node.insights
    assert node.technologies == ("HTTPX", "Python")
    assert node.related == ("src/shop/db/store.py",)


def test_a_tester_is_told_what_the_tests_do_not_mention(root: Path, write: Write) -> None:
    write("src/shop/cart.py", "def add(): ...\n\n\ndef remove(): ...\n\n\ndef _hidden(): ...\n")
    write("tests/test_cart.py", "from shop.cart import add\n\n\ndef test_add():\n    assert add() is None\n")
    generator = FileContextGenerator(root)
    insights = node_of(generator, "src/shop/cart.py", role="tester").insights
    assert insights[0] == "Tested by tests/test_cart.py: 1 of its 2 public names is named there; missing: `remove`."
    test = node_of(generator, "tests/test_cart.py", role="tester")
    assert test.insights[0] == "1 test of src/shop/cart.py with 1 line of assertions."
    assert test.purpose.startswith("Checks src/shop/cart.py")


@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("src/p/cart.py", "tests/test_cart.py"),
        ("src/p/cart.py", "tests/test_cart_limits.py"),
        ("src/p/cart.py", "tests/cart/test_limits.py"),
        ("src/p/db/store.py", "tests/db/test_store.py"),
        ("src/p/db/store.py", "tests/unit/db/test_store.py"),
        ("src/p/db/store.py", "tests/db/test_keeping.py"),
        ("p/cart.go", "p/cart_test.go"),
        ("web/cart.ts", "web/cart.test.ts"),
        ("web/cart.ts", "web/__tests__/cart.spec.ts"),
        ("app/src/main/java/x/Cart.java", "app/src/test/java/x/CartTest.java"),
        ("src/cart.c", "tests/test_cart.c"),
    ],
)
def test_tests_are_found_where_each_language_keeps_them(root: Path, write: Write, source: str, test: str) -> None:
    write(source, "x = 1\n")
    write(test, "from p.db.store import keep\n")
    notes = {one.source: one.note for one in node_of(FileContextGenerator(root, git=False), source).evidence}
    assert notes["tests"] == test


def test_what_is_normal_in_a_test_is_no_finding_there(root: Path, write: Write) -> None:
    write("tests/test_a.py", "def test_a(tmp_path):\n    print(1)\n    assert open(tmp_path / 'a', 'w')\n")
    for role in VIEWS:
        told = " ".join(node_of(FileContextGenerator(root), "tests/test_a.py", role=role).insights)
        assert "-O" not in told
        assert "prints" not in told
        assert "files" not in told or role in ("tester", "general")


def test_the_same_file_role_and_commit_give_the_same_node(root: Path, git: Git, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES, root, dirs_exist_ok=True)
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "First")
    elsewhere = tmp_path / "another" / "checkout"
    shutil.copytree(root, elsewhere)
    one, other = FileContextGenerator(root), FileContextGenerator(elsewhere)
    for path in SOURCES:
        for role in ("developer", "operations"):
            node = node_of(one, path, role=role)
            assert node.history is not None
            assert node == node_of(other, path, role=role) == node_of(one, path, role=role, force=True)
            assert ContextNode.from_wire(json.loads(json.dumps(node.to_wire()))) == node


def test_many_threads_get_the_same_nodes_as_one(samples: FileContextGenerator) -> None:
    alone = [node_of(samples, path) for path in SOURCES]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda path: node_of(samples, path, force=True), SOURCES * 6))
    assert together == alone * 6


def test_history_tells_people_and_churn(root: Path, write: Write, git: Git) -> None:
    git("init", "--quiet")
    for day in (1, 2, 3):
        write("a.py", f"def f():\n    return {day}\n" * 20)
        git("add", "--all")
        git("commit", "--quiet", "--message", f"Day {day}", author="Ann" if day < 3 else "Bob", day=day)
    write("a.py", "def f():\n    return 4\n")
    node = node_of(FileContextGenerator(root, git=GitOptions(commits=5)), "a.py", role="reviewer")
    assert any(insight.startswith("3 commits since 2026-01-01 moved") for insight in node.insights)
    assert "Differs from what is committed: these lines are nobody's commit yet." in node.insights
    people = (
        "Ann knows it best, with 2 of the last 3 commits; 1 other made the rest. "
        "Last changed on 2026-01-03 by Bob: “Day 3”."
    )
    assert people in node_of(FileContextGenerator(root), "a.py", role="developer").insights
    assert node_of(FileContextGenerator(root, git=False), "a.py").history is None


def test_max_depth_says_how_far_is_looked(root: Path, write: Write) -> None:
    write("pyproject.toml", '[project]\nname = "p"\n')
    write("p/__init__.py", "")
    write("p/a.py", "from p import b\n")
    write("p/b.py", "from . import c\n")
    write("p/c.py", "from p.d import x\n")
    write("p/d.py", "x = 1\n")
    write("tests/test_a.py", "import p.a\n")
    generator = FileContextGenerator(root, git=False)
    related = {depth: node_of(generator, "p/a.py", max_depth=depth).related for depth in range(6)}
    assert related[0] == related[1] == ()
    assert related[2] == ("p/b.py",)
    assert related[3] == ("p/b.py", "p/c.py")
    assert related[4] == related[5] == ("p/b.py", "p/c.py", "p/d.py")
    notes = {one.source: one.note for one in node_of(generator, "p/a.py", max_depth=0).evidence}
    assert notes["surroundings"] == "not looked at: max_depth is 0"
    notes = {one.source: one.note for one in node_of(generator, "p/a.py", max_depth=1).evidence}
    assert (notes["manifest"], notes["tests"]) == ("pyproject.toml", "tests/test_a.py")


def test_metadata_goes_into_the_node(samples: FileContextGenerator) -> None:
    assert node_of(samples, "jobs/retry.py", metadata={"ticket": [7]}).metadata == {"ticket": [7]}


def test_a_reading_is_remembered_by_content_and_force_reads_anew(samples: FileContextGenerator) -> None:
    node_of(samples, "jobs/retry.py")
    (first,) = samples._readings.values()
    node_of(samples, "jobs/retry.py", role="tester")
    assert next(iter(samples._readings.values())) is first
    node_of(samples, "jobs/retry.py", force=True)
    assert next(iter(samples._readings.values())) is not first


def test_no_more_readings_are_kept_than_allowed() -> None:
    generator = FileContextGenerator(SAMPLES, git=False, remembered_files=2)
    for path in SOURCES:
        node_of(generator, path)
    assert len(generator._readings) == 2


def test_fewer_than_no_readings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="remembered_files: must be 0 or more, not -1") as caught:
        FileContextGenerator(SAMPLES, remembered_files=-1)
    assert caught.value.field == "remembered_files"


@pytest.mark.parametrize("checks", range(4))
def test_a_job_that_has_to_stop_stops_between_any_two_steps(samples: FileContextGenerator, checks: int) -> None:
    with pytest.raises(JobInterrupted):
        samples.generate(ContextGenerationRequest(file_path="jobs/retry.py"), RunningJob(checks))


@pytest.mark.parametrize(("path", "code"), [("../x", "outside"), ("gone.py", "missing"), ("path", "directory")])
def test_what_cannot_be_worked_on_ends_the_job_for_good(samples: FileContextGenerator, path: str, code: str) -> None:
    with pytest.raises(FileRefusedError) as caught:
        node_of(samples, path)
    assert caught.value.code == code
    assert not caught.value.retryable


def test_a_link_beside_the_file_is_not_followed_either(root: Path, write: Write, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "zebra"\n')
    (tmp_path / "b.py").write_text("def zebra(): ...\n")
    write("a.py", "import b\n")
    (root / "pyproject.toml").symlink_to(tmp_path / "pyproject.toml")
    (root / "b.py").symlink_to(tmp_path / "b.py")
    node = node_of(FileContextGenerator(root), "a.py", max_depth=4, role="architect")
    assert node.related == ()
    assert "zebra" not in json.dumps(node.to_wire())


def test_broken_manifests_are_passed_over(root: Path, write: Write) -> None:
    write("a.py", "import os\n")
    write("pyproject.toml", "[project\n")
    write("package.json", "[1, 2]")
    write("Cargo.toml", "[dependencies]\nx = [1]\n")
    write("pom.xml", "<dependency>" * 50)
    assert node_of(FileContextGenerator(root), "a.py").technologies == ("Python",)


def test_many_symbols_are_cut_to_the_most_important(root: Path, write: Write) -> None:
    hidden = "".join(f"def _f{number}(): ...\n" for number in range(400))
    write("a.py", f"{hidden}def shown(): ...\n")
    symbols = node_of(FileContextGenerator(root), "a.py").symbols
    assert len(symbols) == 300
    assert symbols[-1].name == "shown"


def test_a_file_that_says_nothing_still_gets_a_node_and_little_confidence(root: Path, write: Write) -> None:
    write("notes", "a\n")
    node = node_of(FileContextGenerator(root, git=False), "notes")
    assert node.insights == ("1 line, 1 word; the longest line has 1 character.",)
    assert node.confidence <= 0.1
    assert node.summary == "Text file, 1 line."


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["#[a]\n", "\n", "def f(a, ", "<!--", "x = [\n", "except:   ", "/*", "public "])
@pytest.mark.parametrize("suffix", ["py", "go", "md", "kt"])
def test_a_file_made_to_stall_is_worked_off_like_any_other(root: Path, write: Write, piece: str, suffix: str) -> None:
    write(f"a.{suffix}", "x" + piece * (60_000 // len(piece)))
    assert node_of(FileContextGenerator(root, git=False), f"a.{suffix}", role="reviewer").lines


def test_a_text_that_the_parser_reads_over_and_over_is_outlined_instead(root: Path, write: Write) -> None:
    write("a.py", "x" + "#[a]\n" * 8_000)
    notes = {one.source: one.note for one in node_of(FileContextGenerator(root), "a.py").evidence}
    assert "gave up" in notes["parser"]


@pytest.mark.parametrize("suffix", ["ini", "py", "sh", "rs", "go", "js"])
@pytest.mark.parametrize("odd", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_line_ends_that_only_some_count_do_not_shift_lines(root: Path, odd: str, suffix: str) -> None:
    """Old sources have form feeds between their parts."""
    for text in (f"{odd}#", f"a = 1{odd}# note\n# more\n", f"#{odd}{odd}\nb = 2  # end"):
        (root / f"a.{suffix}").write_text(text, newline="")
        assert node_of(FileContextGenerator(root, git=False), f"a.{suffix}").insights


@given(
    st.text(string.printable + "äµ漢\u2028", max_size=300),
    st.sampled_from(SUFFIXES),
    st.sampled_from(sorted(VIEWS)),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gives_a_node_or_is_refused_as_empty(root: Path, text: str, suffix: str, role: str) -> None:
    (root / f"a.{suffix}").write_text(text, newline="")
    refused: FileRefusedError | None = None
    try:
        node = node_of(FileContextGenerator(root, git=False), f"a.{suffix}", role=role)
        assert node.insights
        assert 0 <= node.confidence <= 1
        assert ContextNode.from_wire(json.loads(json.dumps(node.to_wire()))) == node
    except FileRefusedError as error:
        refused = error
    assert refused is None or (refused.code == "empty" and not text.strip())


def test_a_readme_is_summed_up_by_its_first_paragraph_after_the_title(root: Path, write: Write) -> None:
    write(
        "README.md",
        "# shop\n\n**One cart for all.** `shop` keeps it: see *below*.\n\n```sh\nmake\n```\n\nNeeds git and make.\n",
    )
    node = node_of(FileContextGenerator(root, git=False), "README.md")
    assert node.summary.startswith("One cart for all. Markdown document")
    assert node.purpose == "The first page that people read. `shop` keeps it: see below."


def test_no_purpose_ends_where_a_list_or_a_sample_was_to_follow(root: Path, write: Write) -> None:
    text = '"""Keep carts. Nobody else does.\n\nIn this order:\n\n1. one\n2. two\n\n    python a.py\n\n'
    text += 'Then they go.\n"""\n'
    write("a.py", text + "\n\ndef keep(): ...\n")
    write("b.py", '"""What is kept:\n\n- one\n"""\n')
    generator = FileContextGenerator(root, git=False)
    assert node_of(generator, "a.py").purpose == (
        "Gives `keep` to the code of this project. Nobody else does. Then they go."
    )
    assert node_of(generator, "b.py").summary.startswith("What is kept. Python module")


def test_a_long_purpose_ends_with_a_sentence(root: Path, write: Write) -> None:
    write("README.md", f"# shop\n\nOne. Two {'and two ' * 30}two. Three {'and three ' * 10}three. Four.\n")
    purpose = node_of(FileContextGenerator(root, git=False), "README.md").purpose
    assert purpose.endswith("and two two.")


def test_a_sample_without_more_words_is_told_by_what_it_gives(root: Path, write: Write) -> None:
    write("examples/deep/ring.c", "/* A ring of fixed size. */\nint push(void) { return 0; }\n")
    purpose = node_of(FileContextGenerator(root, git=False), "examples/deep/ring.c").purpose
    assert purpose == "Sample code in examples/deep; gives `push`."


def test_one_file_has_one_derived_address_however_its_path_is_written(root: Path, write: Write) -> None:
    write("src/a.py", "x = 1\n")
    generator = FileContextGenerator(root, git=False)
    nodes = [node_of(generator, path) for path in ("src/a.py", "/src/./a.py", str(root / "src/a.py"))]
    assert {node.ucxl_address for node in nodes} == {"ucxl://any:general@any:any/*^/src/a.py"}


@pytest.mark.parametrize(
    ("source", "test", "text"),
    [
        # A folder of tests that has the file's name by chance, and names that occur in it.
        ("benchmarks/jobs.py", "tests/jobs/test_cancel.py", "from shop.jobs import many\n\nmany()\n"),
        ("benchmarks/jobs.py", "tests/test_jobs.py", "import shop.jobs as jobs\n"),
        ("src/shop/cart.py", "tests/test_cart.py", "import json\n"),
        ("src/shop/in/cart.py", "tests/test_cart.py", "from shop.cart import many\n"),
        ("src/shop/cart.py", "tests/cart/conftest.py", "from shop.cart import many\n"),
        ("examples/deep/ring.c", "tests/test_ring.c", '#include "ring.h"\n'),
        ("app/src/p/cart.py", "app/tests/test_cart.py", "from ..other import many\n"),
        ("benchmarks/ring.c", "tests/test_ring.c", '#include "ring.h"\n'),
        ("cmd/one/cart.ts", "tests/cart.test.ts", 'import { many } from "../cart";\n'),
    ],
)
def test_a_test_of_something_else_is_no_evidence(root: Path, write: Write, source: str, test: str, text: str) -> None:
    write("src/shop/jobs.py", "def many(): ...\n")
    write("other.py", "def many(): ...\n")
    write("app/other.py", "def many(): ...\n")
    write(source, "def many(): ...\n")
    generator = FileContextGenerator(root, git=False)
    before = node_of(generator, source, role="tester")
    write(test, text)
    after = node_of(generator, source, role="tester")
    assert (after.confidence, after.insights) == (before.confidence, before.insights)
    assert [one.weight for one in after.evidence if one.source == "tests"] == [0.0]


@pytest.mark.parametrize(
    ("test", "text"),
    [
        ("tests/test_selling.py", "from shop.deep.cart import (\n    few,\n    many,\n)\n"),
        ("tests/deep/test_selling.py", "def test_a():\n    from shop.deep import cart\n"),
        ("tests/deep/test_cart.py", "from shop import many\n"),
        ("src/shop/deep/tests/test_cart.py", "from .. import many\n"),
    ],
)
def test_a_python_test_counts_for_what_it_imports(root: Path, write: Write, test: str, text: str) -> None:
    write("src/shop/__init__.py", "from shop.deep.cart import many\n")
    write("src/shop/deep/__init__.py", "from shop.deep.cart import many\n")
    write("src/shop/deep/cart.py", "def many(): ...\n")
    write(test, text)
    node = node_of(FileContextGenerator(root, git=False), "src/shop/deep/cart.py")
    assert [(one.weight, one.note) for one in node.evidence if one.source == "tests"] == [(0.05, test)]


def test_a_makefile_is_not_asked_for_tests(root: Path, write: Write) -> None:
    write("Makefile", "# What people run here.\nall:\n\ttrue\n")
    for role in VIEWS:
        node = node_of(FileContextGenerator(root, git=False), "Makefile", role=role)
        assert "test" not in " ".join(node.insights)
        assert "tests" not in [one.source for one in node.evidence]


def test_plain_authorship_is_history_and_no_insight(root: Path, write: Write, git: Git) -> None:
    write("a.py", "def a(): ...\n")
    git("init", "-q")
    git("add", "a.py")
    git("commit", "-q", "-m", "Begin")
    node = node_of(FileContextGenerator(root), "a.py", role="developer")
    assert node.history is not None
    assert not [one for one in node.insights if "Ann" in one]
