"""Cached hashes: an unchanged file is not read again, and a changed file always gets its new hash."""

import os
import time
from pathlib import Path

import pytest

from fine_tune_assets.core.fingerprints import SETTLE_NS, FileHashCache, FileHashMemo, fingerprint_file


class Clock:
    """A clock ahead of the file system's by `ahead_ns`."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self.ahead_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def bytes_read() -> int:
    """Bytes that this process has read, counted by the kernel."""
    return int(Path("/proc/self/io").read_text().splitlines()[0].split()[1])


def test_a_settled_file_is_read_once(tmp_path: Path, clock: Clock) -> None:
    """The sensor checks every five seconds and can't read 100 GB of reports each time."""
    file = tmp_path / "a"
    file.write_bytes(b"x" * 5_000_000)
    hashes = FileHashCache(10, clock)
    clock.ahead_ns = SETTLE_NS
    first, before = hashes(file), bytes_read()
    assert hashes(file) == first
    assert bytes_read() - before < 1_000_000
    assert first == fingerprint_file(file)


def test_a_file_that_just_changed_is_not_cached(tmp_path: Path, clock: Clock) -> None:
    """Another change within the clock's resolution would not change the timestamps."""
    file = tmp_path / "a"
    file.write_bytes(b"x" * 5_000_000)
    hashes = FileHashCache(10, clock)
    hashes(file)
    before = bytes_read()
    hashes(file)
    assert bytes_read() - before >= 5_000_000


@pytest.mark.parametrize("way", ["in place", "replaced", "with the old time"])
def test_a_changed_file_of_the_same_size_has_its_new_hash(tmp_path: Path, clock: Clock, way: str) -> None:
    """A correction often keeps the length, and copies keep the mtime of the original."""
    file = tmp_path / "a"
    file.write_bytes(b"old")
    hashes = FileHashCache(10, clock)
    clock.ahead_ns = SETTLE_NS
    old, state = hashes(file), file.stat()
    time.sleep(0.02)  # the kernel's clock has a resolution of up to 10 ms
    if way == "replaced":
        (tmp_path / "b").write_bytes(b"new")
        (tmp_path / "b").rename(file)
    else:
        file.write_bytes(b"new")
    if way != "in place":
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert hashes(file) == fingerprint_file(file) != old


def test_the_cache_is_bounded(tmp_path: Path, clock: Clock) -> None:
    """A daemon runs for months, and files are added and deleted."""
    hashes = FileHashCache(3, clock)
    clock.ahead_ns = SETTLE_NS
    for number in range(10):
        file = tmp_path / str(number)
        file.write_text(str(number))
        assert hashes(file) == hashes(file) == fingerprint_file(file)
        assert len(hashes) <= 3


def test_one_file_too_many_costs_one_hash(tmp_path: Path, clock: Clock) -> None:
    """A sensor scans all raw files at each tick; a cache that empties itself when full would read all of them each time."""
    files = [tmp_path / str(number) for number in range(11)]
    for file in files:
        file.write_bytes(b"x" * 1_000_000)
    hashes = FileHashCache(10, clock)
    clock.ahead_ns = SETTLE_NS
    first, before = [hashes(file) for file in files], bytes_read()
    assert [hashes(file) for file in files] == first
    assert bytes_read() - before < 2_000_000


def test_entries_of_deleted_files_make_room(tmp_path: Path, clock: Clock) -> None:
    """Otherwise a daemon that runs for months would cache nothing new."""
    hashes = FileHashCache(10, clock)
    clock.ahead_ns = SETTLE_NS
    for number in range(10):
        (tmp_path / str(number)).write_text("old")
        hashes(tmp_path / str(number))
        (tmp_path / str(number)).unlink()
    (tmp_path / "new").write_text("new")
    hashes(tmp_path / "new")
    assert len(hashes) == 1


def test_a_deleted_file_raises_even_if_it_was_cached(tmp_path: Path, clock: Clock) -> None:
    """The deletion must change the batch's version."""
    (tmp_path / "a").write_text("a")
    hashes = FileHashCache(3, clock)
    clock.ahead_ns = SETTLE_NS
    hashes(tmp_path / "a")
    (tmp_path / "a").unlink()
    with pytest.raises(FileNotFoundError):
        hashes(tmp_path / "a")


def test_a_file_is_read_once_under_any_name_and_again_after_a_change(tmp_path: Path) -> None:
    """A release contains hard links to weights, and its folder is renamed when it is complete."""
    file, building, once = tmp_path / "a", tmp_path / "building", FileHashMemo()
    file.write_bytes(b"x" * 5_000_000)
    building.mkdir()
    os.link(file, building / "b")
    first, before = once(file), bytes_read()
    linked = building.rename(tmp_path / "built") / "b"
    assert once(linked) == first
    assert bytes_read() - before < 1_000_000
    file.write_bytes(b"y" * 5_000_001)
    assert once(linked) == fingerprint_file(file) != first
