"""The table of patterns that `find` applies.

Each rule points at places that some reader would want to be told about. It proves nothing, and its words say so. A new
rule needs a sample in the tests, which also prove that `near` does not hide the rule from a text that it applies to.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Topic(StrEnum):
    """What kind of reader cares."""

    DANGER = "danger"  # an attacker could use it
    TRUST = "trust"  # input from outside comes in, or leaves
    SETTING = "setting"  # configured from outside
    PROCESS = "process"  # starts or ends processes, threads, servers
    WAIT = "wait"  # may wait for long
    SWALLOW = "swallow"  # errors disappear
    CRASH = "crash"  # ends the program instead of answering
    SLIP = "slip"  # a common mistake
    SILENCED = "silenced"  # a tool was told to be quiet
    LEFTOVER = "leftover"  # somebody meant to come back
    UNSTEADY = "unsteady"  # another result at another time or place
    ASSERTION = "assertion"  # checks of a test
    SKIPPED = "skipped"  # tests that do not run


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern.

    Attributes:
        topic: For whom.
        weight: How much it matters, 0 to 10.
        says: What the place is, and why it matters.
        pattern: A regular expression. The first group, where there is one, is a name worth telling.
        near: Words, of which one stands in every text that the pattern can match. Looking for them first is some
            twenty times cheaper than the pattern.
        languages: Where it applies; empty for all.
        in_tests: Whether it is worth telling about a test.
        view: ``code`` (neither comments nor strings), ``bare`` (with strings) or ``comments``.
    """

    topic: Topic
    weight: int
    says: str
    pattern: str
    near: str
    languages: tuple[str, ...] = ()
    view: str = "code"
    in_tests: bool = True


_PY = ("Python",)
_JS = ("JavaScript", "TypeScript", "TSX")
_GO, _RUST, _JAVA, _C = ("Go",), ("Rust",), ("Java",), ("C", "C++")

RULES = (
    Rule(
        Topic.DANGER,
        9,
        "runs text as code; safe only if no part of it comes from outside",
        r"(?<![\w.])(?:eval|exec)\(",
        near="eval( exec(",
        languages=_PY,
    ),
    Rule(
        Topic.DANGER,
        9,
        "runs text as code; safe only if no part of it comes from outside",
        r"(?<![\w.])eval\(|new Function\(",
        near="eval( Function(",
        languages=_JS,
    ),
    Rule(
        Topic.DANGER,
        9,
        "hands a command to a shell; text from outside becomes commands",
        r"shell\s*=\s*True|os\.system\(|os\.popen\(",
        near="shell os.system os.popen",
        languages=_PY,
    ),
    Rule(
        Topic.DANGER,
        9,
        "hands a command to a shell; text from outside becomes commands",
        r"(?<![\w.])(?:system|popen)\(",
        near="system( popen(",
        languages=_C,
    ),
    Rule(
        Topic.DANGER,
        9,
        "unpickles; a crafted input runs code",
        r"\b(?:pickle|cPickle|dill|marshal|shelve)\.(?:loads?|open|Unpickler)\(",
        near="pickle. dill. marshal. shelve.",
        languages=_PY,
    ),
    Rule(
        Topic.DANGER,
        9,
        "reads Java objects from a stream; a crafted input runs code",
        r"\bObjectInputStream\b",
        near="ObjectInputStream",
        languages=_JAVA,
    ),
    Rule(
        Topic.DANGER,
        9,
        "loads YAML with a loader that builds objects; use safe_load",
        r"\byaml\.(?:load|load_all|unsafe_load)\((?![^\n]*SafeLoader)",
        near="yaml.",
        languages=_PY,
    ),
    Rule(
        Topic.DANGER,
        9,
        "does not check the TLS certificate of the other side",
        r"verify\s*=\s*False|_create_unverified_context|CERT_NONE",
        near="verify _create_unverified_context CERT_NONE",
        languages=_PY,
    ),
    Rule(
        Topic.DANGER,
        9,
        "does not check the TLS certificate of the other side",
        r"InsecureSkipVerify:\s*true",
        near="InsecureSkipVerify",
        languages=_GO,
    ),
    Rule(
        Topic.DANGER,
        9,
        "does not check the TLS certificate of the other side",
        r"rejectUnauthorized:\s*false",
        near="rejectUnauthorized",
        languages=_JS,
    ),
    Rule(
        Topic.DANGER,
        5,
        "MD5 or SHA-1: fine as a checksum, not against somebody who wants a collision",
        r"\bhashlib\.(?:md5|sha1)\b|\bmd5\.(?:New|Sum)\b|\bsha1\.(?:New|Sum)\b",
        near="md5 sha1",
        languages=(*_PY, *_GO),
    ),
    Rule(
        Topic.DANGER,
        9,
        "builds SQL by pasting text; use parameters",
        r"""\.(?:execute|executemany|query|Query|Exec)\(\s*(?:f[\"']|[\"'`][^\"'`\n]*[\"'`]\s*(?:%|\+|"""
        r"""\.format))""",
        near=".execute .query .Query .Exec",
        view="bare",
    ),
    Rule(
        Topic.DANGER,
        7,
        "a name that can be taken before the file is made; use mkstemp",
        r"\btempfile\.mktemp\(",
        near="mktemp",
        languages=_PY,
    ),
    Rule(
        Topic.DANGER,
        8,
        "sets HTML from text; escape it first",
        r"\.innerHTML\s*=|dangerouslySetInnerHTML|document\.write\(",
        near="innerHTML dangerouslySetInnerHTML document.write",
        languages=_JS,
    ),
    Rule(
        Topic.DANGER,
        9,
        "copies without a bound; a longer input overwrites memory",
        r"(?<![\w.])(strcpy|strcat|sprintf|vsprintf|gets|stpcpy)\(",
        near="strcpy( strcat( sprintf( gets( stpcpy(",
        languages=_C,
    ),
    Rule(
        Topic.DANGER,
        7,
        "unsafe: what the compiler no longer proves, the author has to",
        r"\bunsafe\s*(?:\{|fn|impl|trait)",
        near="unsafe",
        languages=_RUST,
    ),
    Rule(
        Topic.DANGER,
        7,
        "package unsafe: steps outside the type system",
        r"\bunsafe\.(?:Pointer|Slice|String)",
        near="unsafe.",
        languages=_GO,
    ),
    Rule(
        Topic.DANGER,
        6,
        "readable or writable for everybody",
        r"\bchmod\b[^\n]*(?:0o?)?[67]66\b|\bchmod\b[^\n]*(?:0o?)?777\b",
        near="chmod",
        view="bare",
    ),
    Rule(
        Topic.DANGER,
        9,
        "looks like a secret in the source; move it to the environment or a secret store",
        r"""(?i)(?:passwd|password|secret|api_?key|auth_?token|access_?token|"""
        r"""private_?key)\w*[\"']?\s*(?::=|=>|[:=])\s*[\"'][^\"'\s{}$<>]{8,}[\"']""",
        near="pass PASS Pass secret SECRET Secret key KEY Key token TOKEN Token",
        view="bare",
    ),
    Rule(
        Topic.DANGER,
        10,
        "a private key in the source",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
        near="PRIVATE",
        view="bare",
    ),
    Rule(
        Topic.TRUST,
        5,
        "talks plain HTTP",
        r"""[\"'`]http://(?!localhost|127\.|0\.0\.0\.0|\[::1|www\.w3\.org|schemas\.|example\.|xmlns)[\w.-]+""",
        near="http://",
        view="bare",
    ),
    Rule(
        Topic.TRUST,
        6,
        "listens on all interfaces",
        r"""[\"']0\.0\.0\.0[\"':]|INADDR_ANY""",
        near="0.0.0.0 INADDR_ANY",
        view="bare",
    ),
    Rule(
        Topic.TRUST,
        5,
        "starts another program",
        r"\b(?:subprocess\.(?:run|Popen|call|check_call|check_output)|"
        r"asyncio\.create_subprocess_\w+|os\.exec\w+|os\.posix_spawn)\(",
        near="subprocess os.exec posix_spawn",
        languages=_PY,
    ),
    Rule(
        Topic.TRUST, 5, "starts another program", r"\bexec\.Command(?:Context)?\(", near="exec.Command", languages=_GO
    ),
    Rule(
        Topic.TRUST,
        5,
        "starts another program",
        r"\bchild_process\b|\b(?:execSync|spawnSync|spawn)\(",
        near="child_process execSync spawn",
        languages=_JS,
    ),
    Rule(Topic.TRUST, 5, "starts another program", r"\bCommand::new\(", near="Command::new", languages=_RUST),
    Rule(
        Topic.TRUST,
        5,
        "starts another program",
        r"\bProcessBuilder\b|getRuntime\(\)\.exec\(",
        near="ProcessBuilder getRuntime",
        languages=_JAVA,
    ),
    Rule(
        Topic.TRUST,
        3,
        "reads standard input or the command line",
        r"\bsys\.stdin\b|\binput\(|\bsys\.argv\b|\bargparse\b|\bos\.Args\b|\bprocess\.argv\b|"
        r"\benv::args\b",
        near="sys.stdin input( sys.argv argparse os.Args process.argv env::args",
    ),
    Rule(
        Topic.TRUST,
        3,
        "writes or removes files",
        r"""\bopen\([^)\n]*,\s*[\"'][wax]b?\+?[\"']|\.write_(?:text|bytes)\(|\bos\.(?:remove|unlink|"""
        r"""rename|replace|rmdir|makedirs|mkdir)\(|\bshutil\.\w+\(""",
        near="open( .write_ os. shutil.",
        languages=_PY,
        view="bare",
        in_tests=False,
    ),
    Rule(
        Topic.TRUST,
        3,
        "writes or removes files",
        r"\bos\.(?:Create|WriteFile|Remove|RemoveAll|Rename|MkdirAll|OpenFile)\(|\bfs\.(?:write|"
        r"unlink|rm|mkdir)\w*\(|\bfs::(?:write|remove|rename|create)\w*\(",
        near="os. fs. fs::",
        languages=(*_JS, *_GO, *_RUST),
        in_tests=False,
    ),
    Rule(
        Topic.TRUST,
        2,
        "reads files or lists folders",
        r"(?<![\w.])(?:os\.|io\.)?open\(|\.read_(?:text|bytes)\(|\bos\.(?:scandir|listdir|walk|stat|lstat)\(|\.iterdir\(",
        near="open( .read_ os. .iterdir",
        languages=_PY,
        in_tests=False,
    ),
    Rule(
        Topic.TRUST,
        2,
        "reads files or lists folders",
        r"\bos\.(?:Open|ReadFile|ReadDir|Stat)\(|\bfs\.read\w*\(|\bfs::read\w*\(|\bFile::open\(|(?<![\w.])fopen\(",
        near="os. fs. fs:: File:: fopen",
        languages=(*_GO, *_JS, *_RUST, *_C),
        in_tests=False,
    ),
    Rule(
        Topic.TRUST,
        4,
        "calls over the network",
        r"\b(?:requests|httpx|aiohttp|urllib\.request|socket)\.\w+\(|\burlopen\(|\bopen_connection\(",
        near="requests. httpx. aiohttp. urllib. socket. urlopen open_connection",
        languages=_PY,
    ),
    Rule(
        Topic.TRUST,
        4,
        "calls over the network",
        r"(?<![\w.])fetch\(|\baxios\b[.(]|\bXMLHttpRequest\b|\bnew WebSocket\(|\bhttp\.(?:Get|Post|NewRequest)\w*\(|"
        r"\bnet\.Dial\w*\(|\breqwest::|\bTcpStream::|\bHttpClient\b|\bHttpURLConnection\b|(?<![\w.])connect\(",
        near="fetch axios XMLHttpRequest WebSocket http. net. reqwest TcpStream HttpClient HttpURLConnection connect",
        languages=(*_GO, *_JS, *_RUST, *_JAVA, *_C),
    ),
    Rule(
        Topic.SETTING,
        6,
        "environment variables read",
        r"""(?:environ(?:\.get)?[\[(]|getenv\()\s*[\"'](\w+)[\"']""",
        near="environ getenv",
        languages=_PY,
        view="bare",
    ),
    Rule(
        Topic.SETTING,
        6,
        "environment variables read",
        r"os\.(?:Getenv|LookupEnv)\(\s*\"(\w+)\"",
        near="os.Getenv os.LookupEnv",
        languages=_GO,
        view="bare",
    ),
    Rule(
        Topic.SETTING,
        6,
        "environment variables read",
        r"""process\.env(?:\.(\w+)|\[[\"'](?:\w+)[\"'])""",
        near="process.env",
        languages=_JS,
        view="bare",
    ),
    Rule(
        Topic.SETTING,
        6,
        "environment variables read",
        r"env::var(?:_os)?\(\s*\"(\w+)\"",
        near="env::var",
        languages=_RUST,
        view="bare",
    ),
    Rule(
        Topic.SETTING,
        6,
        "environment variables read",
        r"System\.getenv\(\s*\"(\w+)\"|(?<!\.)getenv\(\s*\"(?:\w+)\"",
        near="getenv",
        languages=(*_JAVA, *_C),
        view="bare",
    ),
    Rule(
        Topic.SETTING,
        4,
        "environment variables used",
        r"\$\{?([A-Z][A-Z0-9_]{2,})\b",
        near="$",
        languages=("Shell", "Dockerfile", "Makefile", "YAML"),
        view="bare",
    ),
    Rule(
        Topic.SETTING,
        5,
        "ports",
        r"""(?i)\b(?:port|listen|expose|addr)\w*[\"']?\s*(?:[:=(]\s*|"""
        r"""\s+)[\"':]*(?:[\d.]*:)?(\d{2,5})\b(?!\.)""",
        near="port PORT Port listen LISTEN Listen expose EXPOSE addr ADDR Addr",
        view="bare",
    ),
    Rule(
        Topic.PROCESS,
        5,
        "starts threads or tasks",
        r"\bthreading\.Thread\(|\bThreadPoolExecutor\(|\bProcessPoolExecutor\(|"
        r"\bmultiprocessing\.\w+\(|\bcreate_task\(|\bTaskGroup\(",
        near="Thread( PoolExecutor multiprocessing. create_task TaskGroup",
        languages=_PY,
    ),
    Rule(Topic.PROCESS, 5, "starts goroutines", r"(?m)^\s*go\s+(?:func\b|[\w.]+\()", near="go", languages=_GO),
    Rule(
        Topic.PROCESS,
        5,
        "starts threads or tasks",
        r"\bthread::spawn\(|\btokio::spawn\(|\bnew Thread\(|\bExecutors\.\w+\(|\bpthread_create\(|"
        r"\bnew Worker\(",
        near="spawn Thread( Executors. pthread_create Worker(",
        languages=(*_JS, *_RUST, *_JAVA, *_C),
    ),
    Rule(
        Topic.PROCESS,
        4,
        "handles signals",
        r"\bsignal\.(?:signal|Notify|pthread_sigmask)\(|\badd_signal_handler\(|\bsigaction\(|"
        r"process\.on\(",
        near="signal. add_signal_handler sigaction process.on",
    ),
    Rule(
        Topic.PROCESS,
        5,
        "ends the process",
        r"\b(?:sys\.exit|os\._exit|os\.Exit|process\.exit|process::exit|System\.exit)\(",
        near="exit Exit",
    ),
    Rule(Topic.PROCESS, 5, "ends the process", r"(?<![\w.])(?:exit|_exit|abort)\(", near="exit( abort(", languages=_C),
    Rule(
        Topic.WAIT,
        4,
        "sleeps or sets a timer",
        r"\b(?:setTimeout|setInterval|time\.sleep|asyncio\.sleep|time\.Sleep|Thread\.sleep|thread::sleep|usleep)\(|"
        r"(?<![\w.])sleep\(",
        near="sleep Sleep setTimeout setInterval",
    ),
    Rule(
        Topic.WAIT,
        7,
        "an HTTP call without a timeout waits for ever on a silent peer",
        r"\brequests\.(?:get|post|put|delete|patch|head)\((?![^\n]*timeout)[^\n]*\)",
        near="requests.",
        languages=_PY,
    ),
    Rule(
        Topic.WAIT,
        7,
        "an HTTP call through the default client, which has no timeout",
        r"\bhttp\.(?:Get|Post|PostForm|Head)\(",
        near="http.",
        languages=_GO,
    ),
    Rule(
        Topic.WAIT,
        4,
        "waits without a timeout",
        r"\.(?:join|wait|acquire|result)\(\s*\)",
        near=".join .wait .acquire .result",
        languages=_PY,
    ),
    Rule(
        Topic.SWALLOW,
        6,
        "an exception is swallowed",
        r"except[^\n]*:\s*(?:\n\s*)?(?:pass|\.\.\.|continue)\b",
        near="except",
        languages=_PY,
    ),
    Rule(
        Topic.SWALLOW,
        5,
        "catches everything, so that bugs look like expected errors",
        r"\bexcept\s*(?:BaseException|Exception)?\s*(?:as\s+\w+\s*)?:",
        near="except",
        languages=_PY,
    ),
    Rule(
        Topic.SWALLOW,
        7,
        "an exception is swallowed",
        r"catch\s*(?:\([^)]*\))?\s*\{\s*\}",
        near="catch",
        languages=(*_JS, *_JAVA),
    ),
    Rule(
        Topic.SWALLOW,
        5,
        "catches everything, so that bugs look like expected errors",
        r"catch\s*\(\s*(?:final\s+)?(?:Exception|Throwable)\b",
        near="catch",
        languages=_JAVA,
    ),
    Rule(
        Topic.SWALLOW, 6, "an error is thrown away", r"(?m)^\s*_\s*(?:,\s*_\s*)?:?=\s*[\w.]+\(", near="_", languages=_GO
    ),
    Rule(
        Topic.CRASH,
        6,
        "panics instead of returning an error",
        r"(?<![\w.])panic\(|\blog\.Fatal\w*\(",
        near="panic log.Fatal",
        languages=_GO,
    ),
    Rule(
        Topic.CRASH,
        6,
        "unwrap or expect: a panic where the value is missing",
        r"\.(?:unwrap|expect)\(",
        near=".unwrap .expect",
        languages=_RUST,
    ),
    Rule(
        Topic.CRASH,
        6,
        "panics instead of returning an error",
        r"\b(?:panic|todo|unimplemented|unreachable)!\(",
        near="panic! todo! unimplemented! unreachable!",
        languages=_RUST,
    ),
    Rule(
        Topic.SLIP,
        8,
        "a mutable default argument is shared by all calls",
        r"def\s+\w+\([^)]*=\s*(?:\[\s*\]|\{\s*\}|set\(\))",
        near="def",
        languages=_PY,
    ),
    Rule(
        Topic.SLIP,
        3,
        "compares with == where the type may change on the way; use ===",
        r"[^=!<>]==[^=]",
        near="==",
        languages=_JS,
    ),
    Rule(
        Topic.SLIP,
        5,
        "`from x import *` hides where names come from",
        r"(?m)^from\s+[\w.]+\s+import\s+\*",
        near="import",
        languages=_PY,
    ),
    Rule(
        Topic.SLIP,
        3,
        "prints instead of logging",
        r"(?m)^\s*(?:print\(|console\.log\(|System\.out\.print)",
        near="print console.log",
        languages=(*_PY, *_JS, *_JAVA),
        in_tests=False,
    ),
    Rule(
        Topic.SLIP,
        3,
        "assert is removed under -O; it does not guard against bad input",
        r"(?m)^\s*assert\s",
        near="assert",
        languages=_PY,
        in_tests=False,
    ),
    Rule(
        Topic.SILENCED,
        3,
        "a checker was silenced",
        r"type:\s*ignore|\bnoqa\b|pylint:\s*disable|nosec\b|eslint-disable|@ts-ignore|"
        r"@ts-expect-error|//\s*nolint|NOLINT|pragma: no cover",
        near="ignore noqa pylint nosec eslint-disable @ts- nolint NOLINT pragma",
        view="comments",
    ),
    Rule(
        Topic.SILENCED,
        3,
        "a checker was silenced",
        r"@SuppressWarnings|#!?\[allow\(",
        near="@SuppressWarnings allow(",
        languages=(*_RUST, *_JAVA),
    ),
    Rule(
        Topic.LEFTOVER,
        6,
        "open ends left by the author",
        r"\b(TODO|FIXME|XXX|HACK|BUG)\b",
        near="TODO FIXME XXX HACK BUG",
        view="comments",
    ),
    Rule(
        Topic.UNSTEADY,
        6,
        "reads the clock",
        r"\b(?:time\.(?:time|monotonic|perf_counter|time_ns)|datetime\.(?:now|utcnow|today)|"
        r"date\.today|time\.(?:Now|Since)|Date\.now|Instant::now|SystemTime::now|currentTimeMillis|"
        r"nanoTime)\b|new Date\(\)",
        near="time. datetime. date. Date Instant SystemTime currentTimeMillis nanoTime",
    ),
    Rule(
        Topic.UNSTEADY,
        6,
        "uses randomness",
        r"\brandom\.\w+\(|\buuid\.uuid[14]\(|\bsecrets\.\w+\(|Math\.random\(|\brand\.\w+\(|"
        r"\bos\.urandom\(|\brand::|new Random\(",
        near="random uuid. secrets. rand. rand:: Random",
    ),
    Rule(
        Topic.ASSERTION,
        4,
        "assertions",
        r"(?m)^\s*assert\b|\bself\.assert\w+\(|\bpytest\.raises\b|\bexpect\(|\bassert\w*!?\(|"
        r"\bt\.(?:Error|Fatal)f?\(",
        near="assert expect( .raises t.Error t.Fatal",
    ),
    Rule(
        Topic.SKIPPED,
        7,
        "tests that are skipped",
        r"\bpytest\.(?:mark\.)?(?:skip|xfail)\w*|\bunittest\.skip|\bt\.Skip\w*\(|\b(?:it|test|"
        r"describe)\.skip\(|#\[ignore|@Disabled|@Ignore",
        near="skip Skip xfail ignore Disabled Ignore",
    ),
)
