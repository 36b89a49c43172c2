"""The generator that comes with the library: context for one file, without a model and without a network."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from slurp_leader.generators.confidence import confidence, evidence
from slurp_leader.generators.facts import Facts
from slurp_leader.generators.history import GitOptions, history_of
from slurp_leader.generators.insights import insights
from slurp_leader.generators.languages import Language, detect
from slurp_leader.generators.port import JobContextLike
from slurp_leader.generators.signals import Signal
from slurp_leader.generators.signals import find as find_signals
from slurp_leader.generators.summary import purpose, summary, tags
from slurp_leader.generators.surroundings import Surroundings, look_around
from slurp_leader.generators.symbols import Structure, read
from slurp_leader.generators.technologies import technologies, understand
from slurp_leader.generators.workspace import DEFAULT_MAX_BYTES, SourceFile, Workspace
from slurp_leader.jobs.request import ContextGenerationRequest
from slurp_leader.jobs.result import ContextNode, Symbol

MAX_SYMBOLS = 300
"""Most symbols in a node; the file's public ones stay when there are more."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What follows from the bytes of a file alone, hence can be used again as long as they are the same."""

    structure: Structure
    signals: tuple[Signal, ...]


class FileContextGenerator:
    """Reads a file and its surroundings, and tells a role what it should know.

    The same file, role, commit and options give the same node: no date of the run, no figure of the machine goes in.

    What the fields of a request do here:

    * ``file_path``: below `workspace_root`; see `slurp_leader.generators.workspace` for what is refused.
    * ``role``: chooses and orders the insights.
    * ``max_depth``: how far is looked. 0: the file alone. 1: also the manifests above it and its tests. 2: also
      the workspace files that it imports. 3 and more: also what those import, up to 40 files.
    * ``force``: read the bytes anew, even where this process has read the same bytes before.
    * ``metadata``: goes into the node as it is.
    * ``timeout``, ``priority``: acted on by the job engine, which runs this under the timeout.

    Threads: safe; each thread has its own parsers.
    """

    version = "1"

    def __init__(
        self,
        workspace_root: str | os.PathLike[str],
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        git: bool | GitOptions = True,
        remembered_files: int = 256,
    ) -> None:
        """Work on the files below a folder.

        Args:
            workspace_root: An existing folder. Nothing outside it is read, except by git for the file's history.
            max_bytes: Largest file that is worked on.
            git: Whether history is asked for, or how.
            remembered_files: Readings kept for the next role that asks about the same bytes; 0 for none. About 50 KB
                each.

        Raises:
            ConfigurationError: Not a folder, or a limit out of range.
        """
        self.workspace = Workspace(workspace_root, max_bytes)
        self._git = GitOptions() if git is True else git or None
        self._capacity = remembered_files
        self._readings: OrderedDict[tuple[str, str], _Reading] = OrderedDict()
        self._lock = threading.Lock()  # guards _readings

    def __getstate__(self) -> dict[str, Any]:
        """To worker processes it goes without what it has read."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_readings")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._readings = OrderedDict()
        self._lock = threading.Lock()

    def generate(self, request: ContextGenerationRequest, job: JobContextLike) -> ContextNode:
        """Make the context node of one file.

        Raises:
            FileRefusedError: The file cannot be worked on; `code` tells why. The job ends `failed`.
            RetryAfterError: The machine could not read it just now.
            JobInterrupted: The job was told to stop, between two steps.
        """
        file = self.workspace.read(request.file_path)
        job.check()
        language = detect(file.path, file.text)
        digest = hashlib.sha256(file.data).hexdigest()
        reading = self._read(file, language, digest, request.force)
        job.check()
        around = look_around(self.workspace, file.path, language.name, reading.structure, request.max_depth)
        job.check()
        facts = self._facts(file, language, reading, around)
        job.check()
        return _node(facts, request, digest)

    def _read(self, file: SourceFile, language: Language, digest: str, force: bool) -> _Reading:
        key = (language.name, digest)
        if not force:
            with self._lock:
                if key in self._readings:
                    self._readings.move_to_end(key)
                    return self._readings[key]
        structure = read(language, file.text)
        reading = _Reading(structure, find_signals(language.name, structure))
        with self._lock:
            self._readings[key] = reading
            while len(self._readings) > self._capacity:
                self._readings.popitem(last=False)
        return reading

    def _facts(self, file: SourceFile, language: Language, reading: _Reading, around: Surroundings) -> Facts:
        history, note = None, "not asked for"
        if self._git is not None:
            history, note = history_of(self.workspace.root, file.path, file.data, self._git)
        local = {module for module, _ in around.imported}
        structure = reading.structure
        return Facts(
            path=file.path,
            language=language,
            text=file.text,
            size=len(file.data),
            structure=structure,
            dependencies=understand(language.name, file.path, structure.imports, around.manifests, local),
            surroundings=around,
            signals=reading.signals,
            history=history,
            history_note=note,
        )


def _node(facts: Facts, request: ContextGenerationRequest, digest: str) -> ContextNode:
    found = evidence(facts)
    return ContextNode(
        path=facts.path,
        role=request.role,
        ucxl_address=_address(request, facts.path),
        ucxl_raw=request.ucxl_address or "",
        summary=summary(facts),
        purpose=purpose(facts),
        technologies=technologies(facts.language.name, facts.dependencies),
        tags=tags(facts),
        insights=insights(facts, request.role),
        language=facts.language.name,
        size=facts.size,
        lines=facts.lines,
        sha256=digest,
        symbols=_most_important(facts.structure.symbols),
        related=facts.surroundings.related,
        history=facts.history,
        confidence=confidence(found),
        evidence=found,
        specificity=facts.path.count("/") + 1,
        metadata=request.metadata,
    )


def _address(request: ContextGenerationRequest, path: str) -> str:
    """The address asked for, else one derived from the file's own path: however it was written, one file has one."""
    if request.ucxl_address is None:
        request = request.model_copy(update={"file_path": path})
    return str(request.address)


def _most_important(symbols: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
    """At most `MAX_SYMBOLS`, in the order of the file; the public and the large ones stay."""
    if len(symbols) <= MAX_SYMBOLS:
        return symbols
    ranked = sorted(symbols, key=lambda one: (not one.exported, bool(one.parent), -one.lines, one.line))
    kept = set(ranked[:MAX_SYMBOLS])
    return tuple(one for one in symbols if one in kept)
