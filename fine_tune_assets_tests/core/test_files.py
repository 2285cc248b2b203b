"""Atomic writes: after an error, nothing exists under the final name."""

import os
import secrets
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import (
    atomic_folder,
    atomic_write,
    file_lock,
    file_lock_within,
    write_table,
    write_text,
)
from fine_tune_assets_tests.core.full_disk import full_disk


class PowerCutError(Exception):
    """Any interruption of a write."""


def write_half(path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise PowerCutError


def write_half_a_folder(folder: Path) -> None:
    with atomic_folder(folder) as temporary:
        (temporary / "half").touch()
        raise PowerCutError


def test_a_file_appears_under_its_name_only_when_complete(tmp_path: Path) -> None:
    """A concurrent reader must not see half a table."""
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "half"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_after_an_error_only_the_old_file_remains(tmp_path: Path) -> None:
    """An old table is better than half a new one."""
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(PowerCutError):
        write_half(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_no_new_file_exists(tmp_path: Path) -> None:
    """Every existing file is complete."""
    with pytest.raises(PowerCutError):
        write_half(tmp_path / "file.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    """A missing file must not count as written."""
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "file.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_only_when_complete(tmp_path: Path) -> None:
    """Half an adapter under its fingerprint would count as the adapter."""
    folder = tmp_path / "deep" / "f00"
    with pytest.raises(PowerCutError):
        write_half_a_folder(folder)
    assert list(folder.parent.iterdir()) == []
    with atomic_folder(folder) as temporary:
        (temporary / "whole").touch()
        assert not folder.exists()
    assert [p.name for p in folder.parent.iterdir()] == ["f00"]
    assert [p.name for p in folder.iterdir()] == ["whole"]


def write_folder(folder: Path, **files: str) -> None:
    with atomic_folder(folder) as temporary:
        for name, text in files.items():
            (temporary / name).write_text(text, encoding="utf-8")


def test_a_folder_with_the_same_content_is_kept(tmp_path: Path) -> None:
    """It is named by its content and may be in use."""
    folder = tmp_path / "f00"
    write_folder(folder, weights="right")
    before = (folder / "weights").stat()
    write_folder(folder, weights="right")
    assert (folder / "weights").stat() == before
    assert [p.name for p in tmp_path.iterdir()] == ["f00"]


@pytest.mark.parametrize("damage", ["changed", "added", "removed"])
def test_a_damaged_folder_is_replaced(tmp_path: Path, damage: str) -> None:
    """Errors tell users to build it again, so the new build must replace the damaged one."""
    folder = tmp_path / "f00"
    write_folder(folder, weights="right", config="right")
    if damage == "changed":
        (folder / "weights").write_text("wrong", encoding="utf-8")
    elif damage == "added":
        (folder / "extra").touch()
    else:
        (folder / "config").unlink()
    write_folder(folder, weights="right", config="right")
    assert {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir()} == {"weights": "right", "config": "right"}
    assert [p.name for p in tmp_path.iterdir()] == ["f00"]


def test_a_table_is_readable_by_its_user_only(tmp_path: Path) -> None:
    """Tables of the first stages hold raw report text."""
    path = tmp_path / "reports" / "reports.parquet"
    write_table(path, pa.table({"text": ["a"]}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert pq.read_table(path).to_pylist() == [{"text": "a"}]


@pytest.fixture
def _open_umask() -> Iterator[None]:
    """A umask that makes new files accessible to all users by default."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_open_umask")
def test_a_table_is_private_while_it_is_written(tmp_path: Path) -> None:
    """Writing a large one takes minutes, in which another user could copy it."""
    rows = 2_000_000
    table = pa.table({"text": pa.array(range(rows), pa.int64()).cast(pa.string())})
    path = tmp_path / "tables" / "reports" / "b.parquet"
    modes: set[int] = set()
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write_table, path, table)
        while not written.done():
            for file in path.parent.glob(".*.tmp"):
                with suppress(FileNotFoundError):  # renamed meanwhile
                    modes.add(stat.S_IMODE(file.lstat().st_mode))
        written.result()
    assert modes == {0o600}
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]


@pytest.mark.usefixtures("_open_umask")
def test_texts_and_folders_are_private(tmp_path: Path) -> None:
    """Exports contain report text. An existing folder keeps its mode."""
    (tmp_path / "data").mkdir(mode=0o750)
    with atomic_folder(tmp_path / "data" / "sets" / "f00") as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o700
        write_text(temporary / "train.jsonl", "{}")
    made = [tmp_path / "data" / "sets", tmp_path / "data" / "sets" / "f00"]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in made] == [0o700, 0o700]
    assert stat.S_IMODE((made[1] / "train.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o750


def test_a_full_disk_leaves_nothing_of_a_table(tmp_path: Path) -> None:
    """A forgotten temporary file would contain raw text."""
    table = pa.table({"text": [secrets.token_hex(10_000)]})
    with full_disk(), pytest.raises(OSError, match="too large"):
        write_table(tmp_path / "t.parquet", table)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_stays_taken_is_given_up_after_its_time(tmp_path: Path) -> None:
    """A service must not wait for another one without limit."""
    path = tmp_path / "lock"
    with file_lock(path), file_lock_within(path, 0.2) as is_locked:
        assert not is_locked
    with file_lock_within(path, 0.2) as is_locked:
        assert is_locked
        with file_lock_within(path, 0) as is_locked_twice:
            assert not is_locked_twice
