"""What holds jobs back: pauses and limits, as settings and operators have them, against what is under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf

from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.picking.control import ALL, EACH_PROJECT, EACH_ROLE, QueueControl, project_scope, role_scope
from slurp_leader.jobs.records import Spec


@dataclass(frozen=True, slots=True)
class Rules:
    """What is in force. A limit of `inf`: there is none.

    Attributes:
        workers: Runs that a leader holds at once, each counted with its slots.
        memory: Bytes that they may take together; `inf`: not limited.
        stuck_slots, stuck_memory: What is taken of these by runs that were told to stop and do not: it may never be
            free again.
        total, each_role, each_project: Jobs that run at once in the cluster, in all, of one role, of one project.
        roles, projects: Limits of single ones, in place of `each_role` and `each_project`.
        paused: Scopes of which nothing is started.
        age_step_s: So much waiting lifts a job by one class.
    """

    workers: int
    age_step_s: float = 60.0
    memory: float = inf
    total: float = inf
    each_role: float = inf
    each_project: float = inf
    roles: Mapping[str, float] = field(default_factory=dict)
    projects: Mapping[str, float] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()
    stuck_slots: int = 0
    stuck_memory: int = 0

    @classmethod
    def of(cls, options: JobsOptions, control: QueueControl, places: int | None = None, per_worker: int = 1) -> Rules:
        """An operator's order goes before the settings.

        Args:
            options: The settings.
            control: The orders.
            places: Slots that there are where no order says; None: as many as `jobs.workers`.
            per_worker: Slots of one worker.
        """
        workers = options.workers * per_worker if places is None else places
        if control.workers:
            workers = control.workers.most * per_worker
        limits = {scope: limit.most for scope, limit in control.limits.items()}
        return cls(
            workers=workers,
            age_step_s=options.age_step_s,
            memory=options.memory_limit or inf,
            total=limits.get(ALL, options.limit or inf),
            each_role=limits.get(EACH_ROLE, options.limit_per_role or inf),
            each_project=limits.get(EACH_PROJECT, options.limit_per_project or inf),
            roles=_of(limits, role_scope("")),
            projects=_of(limits, project_scope("")),
            paused=frozenset(control.paused),
        )

    def beside_stuck(self, slots: int, memory: int) -> Rules:
        """These, while stuck runs take so much."""
        return replace(self, stuck_slots=slots, stuck_memory=memory) if slots or memory else self

    @property
    def places(self) -> tuple[int, float]:
        """Slots and memory that there are, or will be when the runs that end have ended."""
        return self.workers - self.stuck_slots, self.memory - self.stuck_memory

    def total_room(self, usage: Usage) -> float:
        """How many more jobs may run, of whatever role and project."""
        return 0 if ALL in self.paused else self.total - usage.total

    def role_room(self, role: str, usage: Usage) -> float:
        """How many more jobs of this role may run."""
        if self.paused and role_scope(role) in self.paused:
            return 0
        return self.roles.get(role, self.each_role) - usage.roles[role]

    def project_room(self, project: str, usage: Usage) -> float:
        """How many more jobs of this project may run."""
        if self.paused and project_scope(project) in self.paused:
            return 0
        return self.projects.get(project, self.each_project) - usage.projects[project]

    def could_fit(self, spec: Spec) -> bool:
        """Whether this job would fit if nothing ran but what is stuck."""
        return spec.slots <= self.workers - self.stuck_slots and spec.memory <= self.memory - self.stuck_memory

    def why_held(self, spec: Spec, usage: Usage) -> str:
        """Why a job like this is not started at present, in words; empty: nothing of this kind holds it back."""
        for scope, what in (
            (ALL, "the queue is"),
            (role_scope(spec.role), f"role {spec.role!r} is"),
            (project_scope(spec.project), f"project {spec.project!r} is"),
        ):
            if scope in self.paused:
                return f"{what} paused"
        if self.total_room(usage) <= 0:
            return f"{usage.total} jobs run, which is the limit"
        if self.role_room(spec.role, usage) <= 0:
            return f"{usage.roles[spec.role]} jobs of role {spec.role!r} run, which is the limit"
        if self.project_room(spec.project, usage) <= 0:
            return f"{usage.projects[spec.project]} jobs of project {spec.project!r} run, which is the limit"
        return "" if self.could_fit(spec) else self._why_unfit(spec)

    def _why_unfit(self, spec: Spec) -> str:
        if spec.slots > self.workers:
            return f"it takes {spec.slots} slots, and there are {self.workers}"
        if spec.memory > self.memory:
            return f"it takes {spec.memory} bytes of memory, and there are {self.memory:.0f}"
        slots, memory = self.places
        if spec.slots > slots:
            return f"it takes {spec.slots} slots, and there are {slots} beside those of runs that do not stop"
        return (
            f"it takes {spec.memory} bytes of memory, and there are {memory:.0f} beside that of runs that do not stop"
        )


def _of(limits: Mapping[str, int], prefix: str) -> dict[str, float]:
    return {scope[len(prefix) :]: most for scope, most in limits.items() if scope.startswith(prefix)}


class Usage:
    """What runs, or is about to: counted up and down with each job, and anew whenever a leader begins. Nothing of it is
    stored, so nothing of it can leak."""

    __slots__ = ("projects", "roles", "total")

    def __init__(self, specs: Iterable[Spec] = ()) -> None:
        self.total = 0
        self.roles: Counter[str] = Counter()
        self.projects: Counter[str] = Counter()
        for spec in specs:
            self.take(spec)

    def take(self, spec: Spec) -> None:
        self.total += 1
        self.roles[spec.role] += 1
        self.projects[spec.project] += 1

    def give(self, spec: Spec) -> None:
        self.total -= 1
        for counts, name in ((self.roles, spec.role), (self.projects, spec.project)):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]  # names are the callers': there may be many over time


@dataclass(slots=True)
class Room:
    """What a leader has left for further runs.

    Attributes:
        slots: Workers that are free.
        ahead: Jobs of one slot that may be claimed although none is.
        memory: Bytes.
    """

    slots: int
    ahead: int = 0
    memory: float = inf

    @property
    def is_left(self) -> bool:
        return self.slots > 0 or self.ahead > 0

    def fits(self, spec: Spec) -> bool:
        fits_slots = spec.slots <= self.slots or (spec.slots == 1 and self.ahead > 0)
        return fits_slots and spec.memory <= self.memory

    def take(self, spec: Spec) -> None:
        if spec.slots <= self.slots:
            self.slots -= spec.slots
        else:
            self.ahead -= 1
        self.memory -= spec.memory
