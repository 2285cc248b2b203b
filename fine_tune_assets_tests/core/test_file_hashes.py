"""Remembered hashes: a file that did not change is not read again, and one that did is never taken for the old one."""

import os
import time
from pathlib import Path

import pytest

from fine_tune_assets.core.fingerprints import SETTLED_NS, HashedOnce, RememberedHashes, fingerprint_file


class Clock:
    """A clock that runs ahead of the file system's by `ahead_ns`."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self.ahead_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def bytes_read() -> int:
    """What this process has read from files, counted by the kernel."""
    return int(Path("/proc/self/io").read_text().splitlines()[0].split()[1])


def test_a_settled_file_is_read_once(tmp_path: Path, clock: Clock) -> None:
    """The sensor looks every five seconds: 100 GB of reports can't be read each time."""
    file = tmp_path / "a"
    file.write_bytes(b"x" * 5_000_000)
    hashes = RememberedHashes(10, clock)
    clock.ahead_ns = SETTLED_NS
    first, before = hashes(file), bytes_read()
    assert hashes(file) == first
    assert bytes_read() - before < 1_000_000
    assert first == fingerprint_file(file)


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path, clock: Clock) -> None:
    """A second change within the same tick of a coarse clock leaves no trace in the file's times."""
    file = tmp_path / "a"
    file.write_bytes(b"x" * 5_000_000)
    hashes = RememberedHashes(10, clock)
    hashes(file)
    before = bytes_read()
    hashes(file)
    assert bytes_read() - before >= 5_000_000


@pytest.mark.parametrize("way", ["in place", "replaced", "with the old time"])
def test_a_changed_file_of_the_same_size_has_its_new_hash(tmp_path: Path, clock: Clock, way: str) -> None:
    """A corrected word often has as many letters; and copies keep the time of the original."""
    file = tmp_path / "a"
    file.write_bytes(b"old")
    hashes = RememberedHashes(10, clock)
    clock.ahead_ns = SETTLED_NS
    old, state = hashes(file), file.stat()
    time.sleep(0.02)  # the kernel's clock moves in steps of up to 10 ms
    if way == "replaced":
        (tmp_path / "b").write_bytes(b"new")
        (tmp_path / "b").rename(file)
    else:
        file.write_bytes(b"new")
    if way != "in place":
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert hashes(file) == fingerprint_file(file) != old


def test_the_memory_is_bounded(tmp_path: Path, clock: Clock) -> None:
    """A daemon runs for months, and files come and go."""
    hashes = RememberedHashes(3, clock)
    clock.ahead_ns = SETTLED_NS
    for number in range(10):
        file = tmp_path / str(number)
        file.write_text(str(number))
        assert hashes(file) == hashes(file) == fingerprint_file(file)
        assert len(hashes) <= 3


def test_a_file_that_is_gone_is_an_error_even_if_it_was_known(tmp_path: Path, clock: Clock) -> None:
    """The batch's version says that it vanished."""
    (tmp_path / "a").write_text("a")
    hashes = RememberedHashes(3, clock)
    clock.ahead_ns = SETTLED_NS
    hashes(tmp_path / "a")
    (tmp_path / "a").unlink()
    with pytest.raises(FileNotFoundError):
        hashes(tmp_path / "a")


def test_a_file_is_read_once_by_whatever_name_and_again_when_it_changed(tmp_path: Path) -> None:
    """A release holds hard links to weights, and its folder gets its name when it is whole."""
    file, building, once = tmp_path / "a", tmp_path / "building", HashedOnce()
    file.write_bytes(b"x" * 5_000_000)
    building.mkdir()
    os.link(file, building / "b")
    first, before = once(file), bytes_read()
    linked = building.rename(tmp_path / "built") / "b"
    assert once(linked) == first
    assert bytes_read() - before < 1_000_000
    file.write_bytes(b"y" * 5_000_001)
    assert once(linked) == fingerprint_file(file) != first
