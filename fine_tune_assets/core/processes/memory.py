"""How much memory programs can still take: of the machine, and of that what a container is allowed.

Owns reading it. How much of it may be taken is decided by who asks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_MOUNT, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True)
class _Files:
    """Where a version of control groups says what a group may have, has, and could give back at once."""

    limit: str
    used: str
    kept_files: str
    """Line of `memory.stat`: pages of files that were not used lately. They count as used, and go when memory is asked for."""


_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Files("memory.max", "memory.current", "inactive_file")


def available_bytes() -> int:
    """Memory that programs can still get on this machine, or in this container if it may have less."""
    groups = _OWN.read_text(encoding="utf-8") if _OWN.is_file() else ""
    return left_of(int(psutil.virtual_memory().available), groups, _MOUNT)


def left_of(machine_bytes: int, groups: str, mount: Path) -> int:
    """The least of what the machine has left and what each control group above this process has left; never below 0.

    `groups`: as `/proc/self/cgroup` states them; `mount`: where their files lie.
    """
    found = (_left(folder, files) for folder, files in _groups(groups, mount))
    return max(0, min((machine_bytes, *(left for left in found if left is not None))))


def _groups(groups: str, mount: Path) -> Iterator[tuple[Path, _Files]]:
    """Every group that this process is in, with those around it: each limit holds."""
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "memory" in controllers.split(","):
            root, files = (mount / "memory", _V1) if controllers else (mount, _V2)
            # A container may see its own group's files as the root, and its path as the host names it.
            own = root / path.strip("/") if ".." not in path else root
            yield from ((folder, files) for folder in (own, *own.parents) if folder.is_relative_to(root))


def _left(group: Path, files: _Files) -> int | None:
    """None if the group has no limit, or says nothing: the root of version 2 has no files."""
    try:
        limit, used = (int((group / name).read_text(encoding="utf-8")) for name in (files.limit, files.used))
        lines = (group / "memory.stat").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # no such file, or "max"
        return None
    kept = next((int(line.split()[1]) for line in lines if line.split()[:1] == [files.kept_files]), 0)
    return limit - used + kept
