"""Available memory: the container's limit applies, and page cache does not count as used."""

from pathlib import Path

import psutil
import pytest

from fine_tune_assets.core.processes.memory import available_bytes, limit_by_cgroups

MACHINE = 64_000
V1, V2 = "9:cpu:/\n4:memory:/pod/one\n0::/\n", "0::/pod/one\n"


def _group(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def _v1(folder: Path, limit: int, used: int, kept: int = 0) -> None:
    stat = f"inactive_file 1\ntotal_inactive_file {kept}\ntotal_active_file 7"
    _group(folder, {"memory.limit_in_bytes": str(limit), "memory.usage_in_bytes": str(used), "memory.stat": stat})


def _v2(folder: Path, limit: int | str, used: int, kept: int = 0) -> None:
    stat = f"active_file 7\ninactive_file {kept}"
    _group(folder, {"memory.max": str(limit), "memory.current": str(used), "memory.stat": stat})


def test_both_cgroup_versions_limit_the_available_memory(tmp_path: Path) -> None:
    """Otherwise a process would see the machine's memory and be killed when it uses it."""
    _v1(tmp_path / "memory/pod/one", 10_000, 9_000)
    assert limit_by_cgroups(MACHINE, V1, tmp_path) == 1_000
    _v2(tmp_path / "v2/pod/one", 20_000, 9_000)
    assert limit_by_cgroups(MACHINE, V2, tmp_path / "v2") == 11_000


@pytest.mark.parametrize(("groups", "where", "write"), [(V1, "memory", _v1), (V2, ".", _v2)])
def test_inactive_page_cache_counts_as_available(tmp_path: Path, groups: str, where: str, write: object) -> None:
    """Otherwise no memory would seem available after reading 16 GB of weights."""
    assert callable(write)
    write(tmp_path / where / "pod/one", 10_000, 9_000, 6_000)
    assert limit_by_cgroups(MACHINE, groups, tmp_path) == 7_000


def test_the_limit_of_a_parent_group_applies_too(tmp_path: Path) -> None:
    _v2(tmp_path / "pod", 12_000, 11_500)
    _v2(tmp_path / "pod/one", "max", 100)
    assert limit_by_cgroups(MACHINE, V2, tmp_path) == 500


@pytest.mark.parametrize("path", ["/pod/one", "/../other"])
def test_a_container_that_sees_only_its_own_group_has_that_limit(tmp_path: Path, path: str) -> None:
    """Docker shows the group's files at the root, but the host's path."""
    _v1(tmp_path / "memory", 10_000, 4_000)
    assert limit_by_cgroups(MACHINE, f"4:cpu,memory:{path}\n", tmp_path) == 6_000


@pytest.mark.parametrize("groups", ["", V1, V2])
def test_without_a_limit_the_machines_memory_is_available(tmp_path: Path, groups: str) -> None:
    _v2(tmp_path / "pod/one", "max", 100)
    assert limit_by_cgroups(MACHINE, groups, tmp_path) == MACHINE


def test_usage_above_the_limit_gives_0(tmp_path: Path) -> None:
    _v2(tmp_path / "pod/one", 100, 200)
    assert limit_by_cgroups(MACHINE, V2, tmp_path) == 0


def test_the_memory_of_this_machine_is_readable() -> None:
    assert 0 < available_bytes() <= psutil.virtual_memory().total
