"""Notable places: every rule fires on its sample, and nothing fires on words in comments and docstrings."""

from __future__ import annotations

import re

import pytest

from slurp_leader.generators.languages import detect
from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.signals import Signal, Topic, find, rules_for
from slurp_leader.generators.signals.find import _compiled
from slurp_leader.generators.signals.rules import RULES
from slurp_leader.generators.symbols import read


def signals(name: str, text: str) -> tuple[Signal, ...]:
    language = detect(name, text)
    return find(language.name, read(language, text))


SAMPLES = [
    ("a.py", "x = eval(text)", "runs text as code"),
    ("a.py", "exec(text)", "runs text as code"),
    ("a.js", "const f = new Function(text);", "runs text as code"),
    ("a.py", "run(command, shell=True)", "hands a command to a shell"),
    ("a.py", "os.system(command)", "hands a command to a shell"),
    ("a.c", "int f(char *s) { return system(s); }", "hands a command to a shell"),
    ("a.py", "pickle.loads(data)", "unpickles"),
    ("A.java", "class A { ObjectInputStream in; }", "reads Java objects"),
    ("a.py", "yaml.load(text)", "loads YAML"),
    ("a.py", "get(url, verify=False)", "does not check the TLS certificate"),
    ("a.go", "package a\nvar c = tls.Config{InsecureSkipVerify: true}", "does not check the TLS certificate"),
    ("a.ts", "const o = { rejectUnauthorized: false };", "does not check the TLS certificate"),
    ("a.py", "hashlib.md5(data)", "MD5 or SHA-1"),
    ("a.go", "package a\nvar h = sha1.New()", "MD5 or SHA-1"),
    ("a.py", 'cursor.execute(f"select {name}")', "builds SQL by pasting"),
    ("a.py", 'cursor.execute("select %s" % name)', "builds SQL by pasting"),
    ("a.py", "tempfile.mktemp()", "a name that can be taken"),
    ("a.js", "node.innerHTML = text;", "sets HTML from text"),
    ("a.c", "void f(char *a, char *b) { strcpy(a, b); }", "copies without a bound"),
    ("a.rs", "fn f() { unsafe { g() } }", "unsafe: what the compiler"),
    ("a.go", "package a\nvar p = unsafe.Pointer(x)", "package unsafe"),
    ("a.sh", "chmod -R 777 /srv\n", "readable or writable for everybody"),
    ("a.py", 'password = "hunter2hunter2"', "looks like a secret"),
    ("a.yaml", 'api_key: "0123456789abcdef"\n', "looks like a secret"),
    ("a.go", 'package a\nconst dbPassword = "hunter2hunter2"', "looks like a secret"),
    ("a.txt", "-----BEGIN RSA PRIVATE KEY-----\n", "a private key in the source"),
    ("a.py", 'url = "http://plain.test/x"', "talks plain HTTP"),
    ("a.py", 'bind("0.0.0.0")', "listens on all interfaces"),
    ("a.py", "subprocess.run(command)", "starts another program"),
    ("a.go", 'package a\nvar c = exec.Command("ls")', "starts another program"),
    ("a.js", 'const c = require("x"); c.spawn("ls"); spawn("ls");', "starts another program"),
    ("a.rs", 'fn f() { Command::new("ls"); }', "starts another program"),
    ("A.java", "class A { ProcessBuilder p; }", "starts another program"),
    ("a.py", "text = sys.stdin.read()", "reads standard input"),
    ("a.py", 'open(path, "w")', "writes or removes files"),
    ("a.go", "package a\nvar e = os.Remove(p)", "writes or removes files"),
    ("a.py", "open(path)", "reads files"),
    ("a.go", "package a\nvar b, e = os.ReadFile(p)", "reads files"),
    ("a.py", "requests.get(url, timeout=3)", "calls over the network"),
    ("a.ts", "const r = await fetch(url);", "calls over the network"),
    ("a.py", 'os.environ["HOME"]', "environment variables read"),
    ("a.go", 'package a\nvar h = os.Getenv("HOME")', "environment variables read"),
    ("a.js", "const h = process.env.HOME;", "environment variables read"),
    ("a.rs", 'fn f() { env::var("HOME"); }', "environment variables read"),
    ("A.java", 'class A { String h = System.getenv("HOME"); }', "environment variables read"),
    ("a.sh", "echo ${HOME_DIR}\n", "environment variables used"),
    ("a.py", "serve(port=8080)", "ports"),
    ("a.py", "threading.Thread(target=f)", "starts threads or tasks"),
    ("a.go", "package a\nfunc f() {\n\tgo run()\n}", "starts goroutines"),
    ("a.rs", "fn f() { tokio::spawn(g()); }", "starts threads or tasks"),
    ("a.py", "signal.signal(signal.SIGTERM, stop)", "handles signals"),
    ("a.py", "sys.exit(1)", "ends the process"),
    ("a.c", "void f(void) { abort(); }", "ends the process"),
    ("a.py", "asyncio.sleep(1)", "sleeps or sets a timer"),
    ("a.js", "setTimeout(f, 10);", "sleeps or sets a timer"),
    ("a.py", "requests.get(url)", "an HTTP call without a timeout"),
    ("a.go", "package a\nvar r, e = http.Get(u)", "an HTTP call through the default client"),
    ("a.py", "thread.join()", "waits without a timeout"),
    ("a.py", "try:\n    f()\nexcept ValueError:\n    pass", "an exception is swallowed"),
    ("a.py", "try:\n    f()\nexcept Exception:\n    g()", "catches everything"),
    ("a.js", "try { f() } catch (e) {}", "an exception is swallowed"),
    ("A.java", "class A { void f() { try { g(); } catch (Exception e) { h(); } } }", "catches everything"),
    ("a.go", "package a\nfunc f() {\n\t_ = g()\n}", "an error is thrown away"),
    ("a.go", 'package a\nfunc f() { panic("x") }', "panics instead"),
    ("a.rs", "fn f() { g().unwrap(); }", "unwrap or expect"),
    ("a.rs", 'fn f() { panic!("x"); }', "panics instead"),
    ("a.py", "def f(a, b=[]): ...", "a mutable default argument"),
    ("a.js", "if (a == b) { f() }", "compares with =="),
    ("a.py", "from os import *", "`from x import *`"),
    ("a.py", "def f():\n    print(1)", "prints instead of logging"),
    ("a.py", "assert x", "assert is removed under -O"),
    ("a.py", "x = f()  # type: ignore", "a checker was silenced"),
    ("a.rs", "#![allow(dead_code)]\nfn f() {}", "a checker was silenced"),
    ("a.py", "x = 1  # TODO: more", "open ends left by the author"),
    ("a.py", "time.monotonic()", "reads the clock"),
    ("a.py", "random.random()", "uses randomness"),
    ("a.py", "self.assertEqual(1, 1)", "assertions"),
    ("a.py", "@pytest.mark.skip\ndef f(): ...", "tests that are skipped"),
]


@pytest.mark.parametrize(("name", "text", "says"), SAMPLES)
def test_each_rule_fires_on_its_sample(name: str, text: str, says: str) -> None:
    found = [signal for signal in signals(name, text) if signal.rule.says.startswith(says)]
    assert found, [signal.rule.says for signal in signals(name, text)]
    assert all(1 <= line <= text.count("\n") + 1 for line in found[0].lines)


def test_every_rule_has_a_sample() -> None:
    sampled = {says for _, _, says in SAMPLES}
    assert [rule.says for rule in RULES if not rule.says.startswith(tuple(sampled))] == []


@pytest.mark.parametrize(
    "text",
    [
        '"""Never call eval(x), pickle.loads(x) or subprocess.run(x, shell=True) here."""\n',
        "# os.system(x), yaml.load(x), print(x)\nx = 1\n",
        "def f():\n    '''password = \"hunter2hunter2\" and http://plain.test'''\n",
        'message = "eval( exec( os.system( pickle.loads("\n',
        "values.retrieval(1)\nmodel.eval()\n",
        "yaml.load(text, Loader=SafeLoader)\n",
        'token = "{token}"\npassword = ""\n',
    ],
)
def test_words_in_comments_docstrings_and_harmless_code_are_no_danger(text: str) -> None:
    assert [one.rule.says for one in signals("a.py", text) if one.rule.topic is Topic.DANGER] == []


def test_lines_and_names_are_those_of_the_source() -> None:
    text = '"""doc\n\n"""\nimport os\n\nA = os.environ["ONE"]\nB = os.getenv("TWO")\nC = os.environ.get("ONE")\n'
    (found,) = [one for one in signals("a.py", text) if one.rule.topic is Topic.SETTING]
    assert (found.lines, found.names) == ((6, 7, 8), ("ONE", "TWO"))


def test_the_tests_inside_a_rust_file_are_judged_as_tests() -> None:
    text = "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() { f().unwrap(); }\n}\n"
    assert signals("a.rs", text) == ()


def test_repetitions_are_bounded_so_that_no_file_can_stall_a_match() -> None:
    assert bounded(r"^\s*a[^x\]]+\(.*?(?:\w+)b\*c\+").pattern == (
        r"^\s{0,40}a[^x\]]{1,120}\(.{0,120}?(?:\w{1,120})b\*c\+"
    )
    unbounded = re.compile(r"(?<!\\)(?:\\[swd]|\]|\.)[*+]")
    for language in ("Python", "Go", "TypeScript", "Rust", "Java", "C", "Shell"):
        for rule, _near, pattern in _compiled(language):
            assert not unbounded.search(pattern.pattern), rule.says


def test_the_number_of_rules_for_a_language_can_be_told() -> None:
    assert rules_for("Python", Topic.DANGER) > rules_for("Markdown", Topic.DANGER) > 0
