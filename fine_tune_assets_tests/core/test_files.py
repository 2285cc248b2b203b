"""Files that are whole or absent: nothing lies under the final name after an error."""

import os
import resource
import secrets
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import folder_written_aside, write_table, write_text, written_aside


class PowerCutError(Exception):
    """Stands for whatever ends a write in its middle."""


def write_half(path: Path) -> None:
    with written_aside(path) as aside:
        aside.write_text("half", encoding="utf-8")
        raise PowerCutError


def write_half_a_folder(folder: Path) -> None:
    with folder_written_aside(folder) as aside:
        (aside / "half").touch()
        raise PowerCutError


def test_a_file_appears_under_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    """A reader that comes between must not see half a table."""
    path = tmp_path / "new" / "file.txt"
    with written_aside(path) as aside:
        aside.write_text("half", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "half"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_after_an_error_the_old_file_stands_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    """Yesterday's table is better than half of today's."""
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(PowerCutError):
        write_half(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_no_new_file_is_there(tmp_path: Path) -> None:
    """Nothing under the final name: what exists is complete."""
    with pytest.raises(PowerCutError):
        write_half(tmp_path / "file.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    """An absent file must not pass as a written one."""
    with pytest.raises(FileNotFoundError), written_aside(tmp_path / "file.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """Half an adapter under a fingerprint would be taken for the adapter."""
    folder = tmp_path / "deep" / "f00"
    with pytest.raises(PowerCutError):
        write_half_a_folder(folder)
    assert list(folder.parent.iterdir()) == []
    with folder_written_aside(folder) as aside:
        (aside / "whole").touch()
        assert not folder.exists()
    assert [p.name for p in folder.parent.iterdir()] == ["f00"]
    assert [p.name for p in folder.iterdir()] == ["whole"]


def write_folder(folder: Path, **files: str) -> None:
    with folder_written_aside(folder) as aside:
        for name, text in files.items():
            (aside / name).write_text(text, encoding="utf-8")


def test_a_folder_with_the_same_content_is_kept(tmp_path: Path) -> None:
    """It is named by its content, and may be in use."""
    folder = tmp_path / "f00"
    write_folder(folder, weights="right")
    before = (folder / "weights").stat()
    write_folder(folder, weights="right")
    assert (folder / "weights").stat() == before
    assert [p.name for p in tmp_path.iterdir()] == ["f00"]


@pytest.mark.parametrize("damage", ["changed", "added", "removed"])
def test_a_damaged_folder_is_replaced(tmp_path: Path, damage: str) -> None:
    """Errors say "build it again": what is built then must not be thrown away for what is broken."""
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
    """What a new file gets without care: readable and writable by everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_open_umask")
def test_a_table_is_its_users_alone_while_it_is_written(tmp_path: Path) -> None:
    """A large one takes minutes: long enough for another user of the machine to copy the reports."""
    rows = 2_000_000
    table = pa.table({"text": pa.array(range(rows), pa.int64()).cast(pa.string())})
    path = tmp_path / "tables" / "reports" / "b.parquet"
    modes: set[int] = set()
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write_table, path, table)
        while not written.done():
            for file in path.parent.glob(".*.tmp"):
                with suppress(FileNotFoundError):  # it has its name by now
                    modes.add(stat.S_IMODE(file.lstat().st_mode))
        written.result()
    assert modes == {0o600}
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]


@pytest.mark.usefixtures("_open_umask")
def test_texts_and_folders_are_their_users_alone(tmp_path: Path) -> None:
    """Exports hold texts of reports; a folder that was there keeps the rights that somebody gave it."""
    (tmp_path / "data").mkdir(mode=0o750)
    with folder_written_aside(tmp_path / "data" / "sets" / "f00") as aside:
        assert stat.S_IMODE(aside.stat().st_mode) == 0o700
        write_text(aside / "train.jsonl", "{}")
    made = [tmp_path / "data" / "sets", tmp_path / "data" / "sets" / "f00"]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in made] == [0o700, 0o700]
    assert stat.S_IMODE((made[1] / "train.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o750


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow above 1,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_of_a_table(tmp_path: Path) -> None:
    """Half a table under a temporary name is raw text that nobody looks for."""
    table = pa.table({"text": [secrets.token_hex(10_000)]})
    with full_disk(), pytest.raises(OSError, match="File too large"):
        write_table(tmp_path / "t.parquet", table)
    assert list(tmp_path.iterdir()) == []
