"""What a control group (Linux) leaves to this process of its machine: memory and processor time, in both versions.

::

    /proc/self/cgroup      which group this process is in, for each controller
    /proc/self/mountinfo   where those groups can be seen, and from which group down
    .../memory.max, cpu.max, ...   of that group, and of each one above it that can be seen

A group counts with all below it, so what a group above allows is a limit too, and the tightest one holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NO_LIMIT = 2**60
"""Version 1 writes the largest multiple of a page for "no limit"; no machine has so much memory."""


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """Bytes. `used` leaves out files that were read and can be dropped at once."""

    limit: int
    used: int


@dataclass(frozen=True, slots=True)
class CpuLimit:
    """`cores`: how many may be kept busy on average. `used_s`: processor time so far, in seconds."""

    cores: float
    used_s: float


class Cgroups:
    """The groups of this process.

    Args:
        root: Where the machine's files are; another one in tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def memory(self) -> list[MemoryLimit]:
        """The limits in force, this group's own first; empty: there is none.

        Raises:
            OSError, ValueError: Files that should be there cannot be read.
        """
        return [limit for group in self._groups("memory") if (limit := _memory(*group)) is not None]

    def cpu(self) -> list[CpuLimit]:
        """As `memory`."""
        return [limit for group in self._groups("cpu") if (limit := self._cpu(*group)) is not None]

    # ------------------------------------------------------------ which groups

    def _groups(self, controller: str) -> Iterator[tuple[Path, bool]]:
        """Folders of this process's group and of those above it, and whether they are of version 2."""
        found = self._group(controller)
        if found is None:
            return
        mount, group, is_v2 = found
        while True:
            yield group, is_v2
            if group == mount or mount not in group.parents:
                return
            group = group.parent

    def _group(self, controller: str) -> tuple[Path, Path, bool] | None:
        """Where the groups of a controller are mounted, the group of this process there, and whether of version 2."""
        names = self._names()
        for seen_from, mount, kind, options in self._mounts():
            is_v2 = kind == "cgroup2"
            if is_v2 and controller not in names and "" in names:
                return mount, _below(mount, seen_from, names[""]), True
            if not is_v2 and controller in options and controller in names:
                return mount, _below(mount, seen_from, names[controller]), False
        return None

    def _names(self) -> dict[str, str]:
        """Path of this process's group for each controller of version 1; that of version 2 under no name.

        Where both are mounted, a controller belongs to one of them; so what is named is of version 1.
        """
        path = self._root / "proc/self/cgroup"
        if not path.exists():
            return {}
        names = {}
        for line in path.read_text(errors="replace").splitlines():
            _, controllers, group = line.split(":", 2)
            names.update(dict.fromkeys(controllers.split(","), group))
        return names

    def _mounts(self) -> Iterator[tuple[str, Path, str, set[str]]]:
        """Of each mount of groups: the group at its top, where it is, its kind, its options."""
        path = self._root / "proc/self/mountinfo"
        if not path.exists():
            return
        for line in path.read_text(errors="replace").splitlines():
            before, _, after = line.partition(" - ")
            kind, *rest = after.split()
            if kind in ("cgroup", "cgroup2"):
                seen_from, place = before.split()[3:5]
                yield seen_from, self._root / place.lstrip("/"), kind, set(rest[-1].split(","))

    # ------------------------------------------------------------ what they allow

    def _cpu(self, group: Path, is_v2: bool) -> CpuLimit | None:
        if is_v2:
            quota, _, period = (_text(group / "cpu.max") or "max").partition(" ")
            if quota == "max":
                return None
            return CpuLimit(int(quota) / int(period), _stat(group / "cpu.stat")["usage_usec"] / 1e6)
        allowed = int(_text(group / "cpu.cfs_quota_us") or -1)
        if allowed < 0:
            return None
        used = _text(group / "cpuacct.usage") or self._used_elsewhere(group)
        return CpuLimit(allowed / int((group / "cpu.cfs_period_us").read_text()), int(used) / 1e9)

    def _used_elsewhere(self, group: Path) -> str:
        """Version 1 may mount what counts processor time apart from what limits it, with the same groups in both."""
        (limits, _, _), (counts, _, _) = self._group("cpu") or (group,) * 3, self._group("cpuacct") or (group,) * 3
        return (counts / group.relative_to(limits) / "cpuacct.usage").read_text()


def _below(mount: Path, seen_from: str, name: str) -> Path:
    """Folder of a group. Within a container, the path may be one that only the host can see: then it is the top."""
    inside = name.removeprefix(seen_from.rstrip("/")) if name.startswith(seen_from) else ""
    group = mount / inside.strip("/")
    return mount if ".." in group.parts else group


def _memory(group: Path, is_v2: bool) -> MemoryLimit | None:
    names = (
        ("memory.max", "memory.current", "inactive_file")
        if is_v2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    )
    limit = _text(group / names[0]) or "max"  # the root has none
    if limit == "max" or int(limit) >= _NO_LIMIT:
        return None
    used = int((group / names[1]).read_text())
    return MemoryLimit(int(limit), max(0, used - _stat(group / "memory.stat").get(names[2], 0)))


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _stat(path: Path) -> dict[str, int]:
    """A file with a name and a number in each line."""
    pairs = (line.split() for line in path.read_text().splitlines())
    return {name: int(value) for name, value, *_ in pairs}
