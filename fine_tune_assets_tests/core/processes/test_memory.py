"""How much memory can be taken: the container's limit counts, and what only caches files does not."""

from pathlib import Path

import psutil
import pytest

from fine_tune_assets.core.processes.memory import available_bytes, left_of

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


def test_a_container_of_either_kind_may_have_less_than_the_machine(tmp_path: Path) -> None:
    """Read only in one way, a container of the other kind is told the whole machine, and killed when it takes it."""
    _v1(tmp_path / "memory/pod/one", 10_000, 9_000)
    assert left_of(MACHINE, V1, tmp_path) == 1_000
    _v2(tmp_path / "v2/pod/one", 20_000, 9_000)
    assert left_of(MACHINE, V2, tmp_path / "v2") == 11_000


@pytest.mark.parametrize(("groups", "where", "write"), [(V1, "memory", _v1), (V2, ".", _v2)])
def test_pages_that_only_cache_files_can_be_taken(tmp_path: Path, groups: str, where: str, write: object) -> None:
    """Whoever has just read 16 GB of weights would else be told that nothing is left."""
    assert callable(write)
    write(tmp_path / where / "pod/one", 10_000, 9_000, 6_000)
    assert left_of(MACHINE, groups, tmp_path) == 7_000


def test_the_limit_of_a_group_around_it_holds_too(tmp_path: Path) -> None:
    _v2(tmp_path / "pod", 12_000, 11_500)
    _v2(tmp_path / "pod/one", "max", 100)
    assert left_of(MACHINE, V2, tmp_path) == 500


@pytest.mark.parametrize("path", ["/pod/one", "/../other"])
def test_a_container_that_sees_only_its_own_group_has_its_limit(tmp_path: Path, path: str) -> None:
    """Docker shows the group's files at the root, and names it as the host does."""
    _v1(tmp_path / "memory", 10_000, 4_000)
    assert left_of(MACHINE, f"4:cpu,memory:{path}\n", tmp_path) == 6_000


@pytest.mark.parametrize("groups", ["", V1, V2])
def test_without_a_limit_it_is_what_the_machine_has(tmp_path: Path, groups: str) -> None:
    _v2(tmp_path / "pod/one", "max", 100)
    assert left_of(MACHINE, groups, tmp_path) == MACHINE


def test_more_used_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    _v2(tmp_path / "pod/one", 100, 200)
    assert left_of(MACHINE, V2, tmp_path) == 0


def test_this_machine_can_be_asked() -> None:
    assert 0 < available_bytes() <= psutil.virtual_memory().total
