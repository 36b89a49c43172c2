"""Where imports come from, and which technologies they stand for."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from slurp_leader.generators.manifests import Manifest, normalise
from slurp_leader.generators.symbols import Import


class Origin(StrEnum):
    """Who is responsible for what is imported."""

    STANDARD = "standard library"
    PROJECT = "project"
    THIRD_PARTY = "third party"


@dataclass(frozen=True, slots=True)
class Dependency:
    """An import, understood.

    Attributes:
        module: As written.
        package: What it belongs to: the import package, the npm package, the Go module, the crate.
        origin: Who is responsible for it.
        line: Where it is imported first.
        wanted: The version that a manifest asks for; empty when none says.
        label: The technology it stands for, as people write it.
        fields: What it is about: web, database, testing ...
    """

    module: str
    package: str
    origin: Origin
    line: int
    wanted: str = ""
    label: str = ""
    fields: tuple[str, ...] = ()


_KNOWN = {
    # import package: label, fields
    "fastapi": "FastAPI web",
    "flask": "Flask web",
    "django": "Django web",
    "starlette": "Starlette web",
    "aiohttp": "aiohttp web async",
    "httpx": "HTTPX http-client",
    "requests": "Requests http-client",
    "urllib3": "urllib3 http-client",
    "pydantic": "Pydantic validation",
    "pydantic_settings": "pydantic-settings configuration",
    "sqlalchemy": "SQLAlchemy database",
    "psycopg2": "PostgreSQL database",
    "psycopg": "PostgreSQL database",
    "asyncpg": "PostgreSQL database async",
    "sqlite3": "SQLite database",
    "redis": "Redis database",
    "etcd3": "etcd coordination",
    "grpc": "gRPC rpc",
    "google.protobuf": "Protocol~Buffers rpc",
    "opentelemetry": "OpenTelemetry observability",
    "prometheus_client": "Prometheus observability",
    "tenacity": "Tenacity resilience",
    "yaml": "YAML serialization",
    "tomllib": "TOML configuration",
    "json": "JSON serialization",
    "typer": "Typer command-line",
    "click": "Click command-line",
    "argparse": "argparse command-line",
    "rich": "Rich terminal",
    "pytest": "pytest testing",
    "unittest": "unittest testing",
    "hypothesis": "Hypothesis testing",
    "testcontainers": "Testcontainers testing containers",
    "tree_sitter": "tree-sitter parsing",
    "pygments": "Pygments parsing",
    "ast": "ast parsing",
    "numpy": "NumPy data",
    "pandas": "pandas data",
    "torch": "PyTorch machine-learning",
    "transformers": "Transformers machine-learning",
    "sklearn": "scikit-learn machine-learning",
    "celery": "Celery jobs",
    "asyncio": "asyncio async",
    "threading": "threads concurrency",
    "concurrent": "threads concurrency",
    "multiprocessing": "processes concurrency",
    "subprocess": "subprocess processes",
    "socket": "sockets network",
    "ssl": "TLS security",
    "cryptography": "cryptography security",
    "hashlib": "hashing security",
    "jwt": "JWT security",
    "boto3": "AWS cloud",
    "docker": "Docker containers",
    "kubernetes": "Kubernetes cloud",
    "logging": "logging observability",
    "structlog": "structlog observability",
    "jinja2": "Jinja templates",
    "react": "React frontend",
    "vue": "Vue frontend",
    "@angular/core": "Angular frontend",
    "svelte": "Svelte frontend",
    "next": "Next.js frontend web",
    "express": "Express web",
    "fastify": "Fastify web",
    "koa": "Koa web",
    "axios": "Axios http-client",
    "jest": "Jest testing",
    "vitest": "Vitest testing",
    "mocha": "Mocha testing",
    "node:test": "node:test testing",
    "zod": "Zod validation",
    "fs": "Node.js filesystem",
    "http": "HTTP web",
    "net/http": "net/http web",
    "database/sql": "database/sql database",
    "encoding/json": "JSON serialization",
    "os/exec": "os/exec processes",
    "testing": "testing testing",
    "log/slog": "slog observability",
    "sync": "sync concurrency",
    "github.com/gin-gonic/gin": "Gin web",
    "github.com/spf13/cobra": "Cobra command-line",
    "github.com/stretchr/testify": "Testify testing",
    "go.etcd.io/etcd": "etcd coordination",
    "google.golang.org/grpc": "gRPC rpc",
    "google.golang.org/protobuf": "Protocol~Buffers rpc",
    "github.com/libp2p/go-libp2p": "libp2p network",
    "go.uber.org/zap": "zap observability",
    "k8s.io/client-go": "Kubernetes cloud",
    "tokio": "Tokio async",
    "serde": "Serde serialization",
    "serde_json": "JSON serialization",
    "clap": "clap command-line",
    "axum": "axum web",
    "actix_web": "Actix web",
    "reqwest": "reqwest http-client",
    "anyhow": "anyhow errors",
    "tracing": "tracing observability",
    "org.springframework": "Spring web",
    "org.junit": "JUnit testing",
    "org.slf4j": "SLF4J observability",
    "java.sql": "JDBC database",
    "java.util.concurrent": "java.util.concurrent concurrency",
    "com.fasterxml.jackson": "Jackson serialization",
    "pthread.h": "pthreads concurrency",
    "sys/socket.h": "sockets network",
    "openssl": "OpenSSL security",
    "curl": "libcurl http-client",
}
_DISTRIBUTIONS = {"yaml": "pyyaml", "grpc": "grpcio", "google.protobuf": "protobuf", "sklearn": "scikit-learn"}
_NODE_MODULES = frozenset(
    """
    assert buffer child_process cluster crypto dgram dns events fs http http2 https module net os path perf_hooks
    process querystring readline stream string_decoder timers tls tty url util v8 vm worker_threads zlib
    """.split()  # noqa: SIM905 - a list of names is easier to read as one
)
_ECOSYSTEM = {
    "Python": "python",
    "Go": "go",
    "JavaScript": "node",
    "TypeScript": "node",
    "TSX": "node",
    "Rust": "rust",
    "Java": "java",
}
_JAVA_STANDARD = ("java.", "javax.", "jdk.")
_RUST_STANDARD = {"std", "core", "alloc"}
_RUST_PROJECT = {"crate", "self", "super"}


def understand(
    language: str, path: str, imports: Collection[Import], manifests: Collection[Manifest], local: Collection[str]
) -> tuple[Dependency, ...]:
    """Tell where each import comes from.

    Args:
        language: Of the file.
        path: Of the file, from the workspace root.
        imports: As they stand in the file.
        manifests: Around the file.
        local: Modules that were found as files of the workspace.

    Returns:
        One dependency for each module, in the order of the file.
    """
    ecosystem = _ECOSYSTEM.get(language, "")
    manifest = next((one for one in manifests if one.ecosystem == ecosystem), None)
    found: dict[str, Dependency] = {}
    for one in imports:
        if one.module in found or one.module == "__future__":
            continue
        package = package_of(language, one.module, manifest)
        origin = Origin.PROJECT if one.module in local else _origin(language, one.module, package, path, manifest)
        label, fields = _label(one.module, package) if origin is not Origin.PROJECT else ("", ())
        wanted = _wanted(package, manifest) if origin is Origin.THIRD_PARTY else ""
        found[one.module] = Dependency(one.module, package, origin, one.line, wanted, label, fields)
    return tuple(found.values())


def package_of(language: str, module: str, manifest: Manifest | None) -> str:
    """The package that a module belongs to."""
    match language:
        case "Python":
            return "google.protobuf" if module.startswith("google.protobuf") else module.partition(".")[0] or module
        case "JavaScript" | "TypeScript" | "TSX":
            parts = module.split("/")
            return "/".join(parts[:2]) if module.startswith("@") else parts[0]
        case "Rust":
            return module.partition("::")[0]
        case "Java":
            return ".".join(module.split(".")[:3])
        case "Go":
            known = [name for name in manifest.dependencies if module.startswith(name)] if manifest else []
            return max(known, key=len, default="/".join(module.split("/")[:3]))
        case _:
            return module.strip('<>"')


def _origin(language: str, module: str, package: str, path: str, manifest: Manifest | None) -> Origin:
    if _is_standard(language, module, package, manifest):
        return Origin.STANDARD
    return Origin.PROJECT if _is_own(language, module, package, path, manifest) else Origin.THIRD_PARTY


def _is_standard(language: str, module: str, package: str, manifest: Manifest | None) -> bool:
    match language:
        case "Python":
            return package in sys.stdlib_module_names
        case "JavaScript" | "TypeScript" | "TSX":
            return module.startswith("node:") or package in _NODE_MODULES
        case "Go":  # only modules from elsewhere have a host name in front; our own may have none
            return "." not in module.partition("/")[0] and not _is_own_go(module, manifest)
        case "Rust":
            return package in _RUST_STANDARD
        case "Java":
            return module.startswith(_JAVA_STANDARD)
        case _:
            return re.fullmatch(r"<[\w/]+(?:\.h)?>", module) is not None


def _is_own(language: str, module: str, package: str, path: str, manifest: Manifest | None) -> bool:
    match language:
        case "Python":
            same_name = manifest is not None and normalise(package) == normalise(manifest.name)
            return module.startswith(".") or same_name or package in path.split("/")[:-1]
        case "JavaScript" | "TypeScript" | "TSX":
            return module.startswith((".", "/", "@/", "~/", "#"))
        case "Go":
            return _is_own_go(module, manifest)
        case "Rust":
            return package in _RUST_PROJECT
        case "Java":
            return "/".join(module.split(".")[:2]) in path
        case _:
            return module.startswith(('"', ".", "/"))


def _is_own_go(module: str, manifest: Manifest | None) -> bool:
    return bool(manifest and manifest.name and f"{module}/".startswith(f"{manifest.name}/"))


def _label(module: str, package: str) -> tuple[str, tuple[str, ...]]:
    """The technology that a module stands for: the longest known beginning of its name."""
    plain = module.strip('<>"')
    for name in (plain, package):
        parts = re.split(r"([./]|::)", name)
        for end in range(len(parts), 0, -2):
            known = _KNOWN.get("".join(parts[:end]))
            if known:
                label, *fields = known.split()
                return label.replace("~", " "), tuple(fields)
    return "", ()


def _wanted(package: str, manifest: Manifest | None) -> str:
    if manifest is None:
        return ""
    named = _DISTRIBUTIONS.get(package, package)
    wishes = manifest.dependencies
    return wishes.get(named) or wishes.get(normalise(named)) or _by_prefix(normalise(named), wishes)


def _by_prefix(name: str, wishes: Mapping[str, str]) -> str:
    """Namespace packages: ``opentelemetry`` is asked for as ``opentelemetry-api``."""
    return next((wish for wanted, wish in wishes.items() if wanted.startswith(f"{name}-")), "")


def technologies(language: str, dependencies: Collection[Dependency]) -> tuple[str, ...]:
    """The technologies of a file, sorted: its language, and what the imports from outside stand for."""
    outside = (one for one in dependencies if one.origin is not Origin.PROJECT)
    named = {one.label or (one.package if one.origin is Origin.THIRD_PARTY else "") for one in outside}
    return tuple(sorted({language, *named} - {"", "text"}, key=str.lower))
