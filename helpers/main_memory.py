"""Main memory as this process may use it: the machine's, or less where a container's control group allows less."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

# Files of a control group: limit, use, and the field of memory.stat that counts file pages which can be given back.
VERSION_2 = ("memory.max", "memory.current", "inactive_file")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


class MainMemory(NamedTuple):
    """Bytes."""

    total: int
    free: int


def main_memory(root: Path = Path("/")) -> MainMemory:
    """Total and free main memory: the least that the machine and each control group of this process leave.

    File pages that the system gives back when asked count as free, as in psutil's `available`. `root`: where /proc
    and /sys lie. Control groups are Linux's: https://docs.kernel.org/admin-guide/cgroup-v2.html, memory.max.
    """
    import psutil

    machine = psutil.virtual_memory()
    total, free = machine.total, machine.available
    for limit, used in _limits(root):
        if limit < machine.total:  # an absurdly large number stands for no limit in version 1
            total, free = min(total, limit), min(free, max(0, limit - used))
    return MainMemory(total, free)


def _limits(root: Path) -> list[tuple[int, int]]:
    """(limit, use that cannot be given back) of each control group that this process is in, and of those above it."""
    found = []
    for folder, names in _groups(root):
        limit, current = (_number(folder / name) for name in names[:2])
        if limit is not None and current is not None:
            found.append((limit, max(0, current - _reclaimable(folder, names[2]))))
    return found


def _groups(root: Path) -> list[tuple[Path, tuple[str, str, str]]]:
    """The folders to look into. A container often sees its own group as the topmost one, whatever its name says."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []  # not Linux
    groups = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            top, names = root / "sys/fs/cgroup", VERSION_2
        elif "memory" in controllers.split(","):
            top, names = root / "sys/fs/cgroup/memory", VERSION_1
        else:
            continue
        path = PurePosixPath(name.lstrip("/"))
        groups += [(top / part, names) for part in {path, *path.parents}]
    return groups


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None  # "max": no limit


def _reclaimable(folder: Path, field: str) -> int:
    try:
        lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    fields = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return int(fields.get(field, 0))
