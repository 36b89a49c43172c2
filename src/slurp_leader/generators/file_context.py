"""The generator that comes with the library: context for one file, without a model and without a network."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeVar

from slurp_leader.errors import ConfigurationError, FileRefusedError, RetryAfterError
from slurp_leader.forks import free_in_child
from slurp_leader.generators.confidence import confidence, evidence
from slurp_leader.generators.facts import Facts
from slurp_leader.generators.history import GitOptions, history_of, is_passing
from slurp_leader.generators.insights import insights
from slurp_leader.generators.languages import Language, detect
from slurp_leader.generators.looking import Look, NotingWorkspace
from slurp_leader.generators.port import JobContextLike
from slurp_leader.generators.repository import repository_state
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


_MOST_LAPSES = 1024
_FEWEST_LOOKS = 256
"""Looks kept whatever the options say: of one that is forgotten before its node is made no lapse can be seen."""

_OWN = ("_lock", "_readings", "_looks", "_lapses", "_lapse")

K = TypeVar("K")
V = TypeVar("V")


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
    * ``force``: read the bytes anew, even where this process has read the same bytes before. The result cache
      (``jobs.cache_bytes``) is not asked then.
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
                each. For the result cache looks around files are kept too, as many, but 256 at least.

        Raises:
            ConfigurationError: Not a folder, or a limit out of range.
        """
        if remembered_files < 0:
            raise ConfigurationError(
                f"remembered_files: must be 0 or more, not {remembered_files}", field="remembered_files"
            )
        self.workspace = Workspace(workspace_root, max_bytes)
        self._git = GitOptions() if git is True else git or None
        self._capacity = remembered_files
        self._begin()

    def _begin(self) -> None:
        self._lock = free_in_child(threading.Lock())  # guards all below
        self._readings: OrderedDict[tuple[str, str], _Reading] = OrderedDict()
        self._looks: OrderedDict[tuple[str, int], Look] = OrderedDict()
        self._lapses: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._lapse = 0

    def __getstate__(self) -> dict[str, Any]:
        """To worker processes it goes without what it has read."""
        return {name: value for name, value in self.__dict__.items() if name not in _OWN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

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
        around = self._look_around(file, language, digest, reading, request.max_depth)
        job.check()
        facts = self._facts(file, language, reading, around, request.max_depth)
        job.check()
        return _node(facts, request, digest)

    def content_hash(self, request: ContextGenerationRequest) -> str | None:
        """A hash of all that the node of a request depends on: of the file, of what stands around it as far as
        `max_depth` looks, and of the state of git.

        It is truthful: what is around is compared answer by answer with what was seen there (`looking`), and the state
        of git is read where git reads it (`repository`). It says too much rather than too little: a name that comes or
        goes in a folder that is looked at changes it, and so does every commit. What was another in between, and is as
        it was again, has another hash than before: a node of what was there in between may be under way.

        It takes 0.3 to 1 ms where `generate` takes 6 to 45 ms for a file that it has parsed before, most of it in git
        (20 cases on a busy machine: files of this library and of its samples, `max_depth` 0 to 3; at most 3 ms, where
        that took 110). The first time for a file, and after a change, it parses and looks around, as `generate` does,
        which then finds the file parsed.

        Returns:
            None where it is not known: the file cannot be read, which `generate` then explains; something changed under
            way; or the state of git cannot be told without asking git, as when its configuration includes other files.
        """
        try:
            file = self.workspace.read(request.file_path)
        except (FileRefusedError, RetryAfterError):
            return None
        state = "" if self._git is None else repository_state(self.workspace.root, file.path)
        if state is None:
            return None
        digest = hashlib.sha256(file.data).hexdigest()
        look = self._look(file, digest, request.max_depth)
        if look is None:
            return None
        with self._lock:
            lapse = self._lapses.get((file.path, request.max_depth), 0)
        parts = (digest, look.digest.hex(), state, lapse, self._git)
        return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()

    def _look_around(
        self, file: SourceFile, language: Language, digest: str, reading: _Reading, max_depth: int
    ) -> Surroundings:
        """What stands around a file. If its content has a hash, and this is not what that was made of, although it may
        be so again by the time it is asked for anew, that is a lapse."""
        with self._lock:
            known = self._looks.get((file.path, max_depth))
        workspace = self.workspace if known is None else NotingWorkspace(self.workspace)
        around = look_around(workspace, file.path, language.name, reading.structure, max_depth)
        if isinstance(workspace, NotingWorkspace) and workspace.look(digest) != known:
            self._note_lapse(file.path, max_depth)
        return around

    def _look(self, file: SourceFile, digest: str, max_depth: int) -> Look | None:
        """What is to be seen around a file; None: it changed under way."""
        key = (file.path, max_depth)
        with self._lock:
            look = self._looks.get(key)
        if look is not None and look.of == digest and look.still_holds(self.workspace):
            self._keep(key, look)
            return look
        noting = NotingWorkspace(self.workspace)
        language = detect(file.path, file.text)
        reading = self._read(file, language, digest, False)
        look_around(noting, file.path, language.name, reading.structure, max_depth)
        look = noting.look(digest)
        if look is not None:
            self._keep(key, look)
        return look

    def _keep(self, key: tuple[str, int], look: Look) -> None:
        """Keep a look that was used just now. Where it takes the place of another one, that is a lapse: a node that is
        being made may be of what the other saw, and its content may have been what this sees before that."""
        with self._lock:
            if self._looks.get(key, look) != look:
                self._count_lapse(key)
            _remember(self._looks, key, look, max(self._capacity, _FEWEST_LOOKS))

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
            _remember(self._readings, key, reading, self._capacity)
        return reading

    def _note_lapse(self, path: str, max_depth: int) -> None:
        """The node of this file may not be of what is there: git failed for a reason that passes, or the file or
        something around it could not be read or was another for a moment. From here on its content has another hash: a
        node that was begun before and ends after this is not taken for the one of its content."""
        with self._lock:
            self._count_lapse((path, max_depth))

    def _count_lapse(self, key: tuple[str, int]) -> None:
        """With the lock held."""
        self._lapse += 1
        _remember(self._lapses, key, self._lapse, _MOST_LAPSES)

    def _facts(
        self, file: SourceFile, language: Language, reading: _Reading, around: Surroundings, max_depth: int
    ) -> Facts:
        history, note = None, "not asked for"
        if self._git is not None:
            history, note = history_of(self.workspace.root, file.path, file.data, self._git)
            if is_passing(note):
                self._note_lapse(file.path, max_depth)
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


def _remember(known: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Keep the newest."""
    known[key] = value
    known.move_to_end(key)
    while len(known) > most:
        known.popitem(last=False)


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
