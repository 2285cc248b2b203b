"""Reads the available memory of the machine, limited by the container's control groups."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_MOUNT, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True)
class _CgroupFiles:
    """File names of one cgroup version."""

    limit: str
    used: str
    inactive_files: str
    """Line of `memory.stat` with inactive page cache: counted as used, but reclaimed on demand."""


_V1 = _CgroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _CgroupFiles("memory.max", "memory.current", "inactive_file")


def available_bytes() -> int:
    """Memory that programs can still allocate on this machine, or in this container if its limit is lower."""
    groups = _OWN_CGROUPS.read_text(encoding="utf-8") if _OWN_CGROUPS.is_file() else ""
    return limit_by_cgroups(int(psutil.virtual_memory().available), groups, _MOUNT)


def limit_by_cgroups(machine_bytes: int, groups: str, mount: Path) -> int:
    """The minimum available memory of the machine and of each enclosing cgroup; at least 0.

    `groups`: content of `/proc/self/cgroup`; `mount`: folder of the cgroup files.
    """
    found = (_cgroup_available_bytes(folder, files) for folder, files in _cgroup_folders(groups, mount))
    return max(0, min((machine_bytes, *(available for available in found if available is not None))))


def _cgroup_folders(groups: str, mount: Path) -> Iterator[tuple[Path, _CgroupFiles]]:
    """Every cgroup of this process and its parents, since each limit applies."""
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "memory" in controllers.split(","):
            root, files = (mount / "memory", _V1) if controllers else (mount, _V2)
            # A container may see its own group as the root, but the host's path in `/proc/self/cgroup`.
            own = root / path.strip("/") if ".." not in path else root
            yield from ((folder, files) for folder in (own, *own.parents) if folder.is_relative_to(root))


def _cgroup_available_bytes(group: Path, files: _CgroupFiles) -> int | None:
    """None if the group has no limit or no files, such as the root of version 2."""
    try:
        limit, used = (int((group / name).read_text(encoding="utf-8")) for name in (files.limit, files.used))
        lines = (group / "memory.stat").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # no such file, or "max"
        return None
    reclaimable = next((int(line.split()[1]) for line in lines if line.split()[:1] == [files.inactive_files]), 0)
    return limit - used + reclaimable
