"""ZIP archives: each entry is a file, and no archive can harm the batch or the machine."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from fine_tune_assets.reports.archives import ArchiveLimits, ReadLimits
from fine_tune_assets.reports.batch_reader import BatchResult, read_batch
from fine_tune_assets_tests.reports.read_files import SECRET, read, reasons
from fine_tune_assets_tests.reports.sample_files import REPORT, as_docx, as_fhir, as_hl7, as_text, as_zip, front_matter
from fine_tune_assets_tests.reports.shared_reader import shared_reader

NOTE = b"---\nsubject_id: p\n---\nRest.\n"


def read_limited(folder: Path, **limits: int) -> BatchResult:
    chosen = ReadLimits(archives=ArchiveLimits(**limits))
    reading = read_batch(folder, "b1", SECRET, chosen, reader=shared_reader(chosen))
    assert reading.file_counts.is_balanced
    return reading


def test_every_entry_is_counted_as_a_file(tmp_path: Path) -> None:
    """Read, unreadable or ignored: every entry is counted, with the archive's path as prefix."""
    inner = as_zip({"deep.hl7": as_hl7(REPORT)})
    files = {
        "visit.txt": as_text(REPORT), "sub/scan.docx": as_docx(REPORT), "sub/scan.yaml": front_matter(REPORT).encode(),
        "more.zip": inner, "b.json": as_fhir(REPORT), "photo.png": b"\x89PNG", "empty.txt": b"",
        "__MACOSX/._visit.txt": b"x", ".DS_Store": b"x",
    }  # fmt: skip
    (tmp_path / "all.zip").write_bytes(as_zip(files))
    reading = read(tmp_path)
    assert reading.reports.column("origin_file").to_pylist() == [
        "all.zip/b.json", "all.zip/more.zip/deep.hl7", "all.zip/sub/scan.docx", "all.zip/visit.txt",
    ]  # fmt: skip
    assert reading.reports.column("report_id").to_pylist()[1:] == [
        "b1/all.zip/more.zip/deep-1", "b1/all.zip/sub/scan", "b1/all.zip/visit",
    ]  # fmt: skip
    assert reasons(reading) == [("all.zip/empty.txt", None, "empty"), ("all.zip/photo.png", None, "unsupported_format")]
    assert {name: reason.value for name, reason in reading.ignored.items()} == {
        "all.zip": "archive", "all.zip/more.zip": "archive", "all.zip/.DS_Store": "hidden",
        "all.zip/__MACOSX/._visit.txt": "hidden", "all.zip/sub/scan.yaml": "sidecar",
    }  # fmt: skip
    assert (reading.file_counts.files, reading.file_counts.files_read) == (11, 4)


def test_zip_bombs_are_not_unpacked(tmp_path: Path) -> None:
    """42 kB that unpack to 4 GB would kill the process and every batch."""
    (tmp_path / "ratio.zip").write_bytes(as_zip({"zeros.txt": b"0" * 30_000_000}))
    (tmp_path / "many.zip").write_bytes(as_zip({f"{n}.txt": NOTE for n in range(11)}))
    (tmp_path / "large.zip").write_bytes(as_zip({f"{n}.txt": NOTE * 100 for n in range(9)}))
    (tmp_path / "nested.zip").write_bytes(as_zip({"1.zip": as_zip({"2.zip": as_zip({"3.txt": NOTE})})}))
    (tmp_path / "good.txt").write_bytes(NOTE)
    reading = read_limited(tmp_path, max_entries=10, max_unpacked_bytes=20_000, max_compression_ratio=200)
    assert reasons(reading) == [
        ("large.zip", None, "unsafe_archive"),
        ("many.zip", None, "unsafe_archive"),
        ("nested.zip/1.zip/2.zip", None, "unsafe_archive"),
        ("ratio.zip", None, "unsafe_archive"),
    ]
    assert reading.reports.column("report_id").to_pylist() == ["b1/good"]


def test_an_archive_above_the_compression_ratio_is_unreadable(tmp_path: Path) -> None:
    """The limit on total size alone would accept ten such archives."""
    (tmp_path / "ratio.zip").write_bytes(as_zip({"zeros.txt": b"0" * 30_000_000}))
    ((_, _, reason),) = reasons(read(tmp_path))
    assert reason == "unsafe_archive"


def test_an_entry_larger_than_declared_is_unreadable(tmp_path: Path) -> None:
    """The size in the directory is only a claim."""
    packed = bytearray(as_zip({"a.txt": NOTE + b"x" * 5_000}))
    for place in (packed.index(b"PK\x01\x02") + 24, 22):
        packed[place : place + 4] = struct.pack("<I", 100)
    (tmp_path / "lies.zip").write_bytes(packed)
    ((name, _, reason),) = reasons(read(tmp_path))
    assert (name, reason in {"unsafe_archive", "corrupt_file"}) == ("lies.zip/a.txt", True)


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
def test_a_path_traversal_makes_the_archive_unreadable(tmp_path: Path, name: str) -> None:
    """Nothing is unpacked to disk, but such an archive is malicious, and its paths would be shown as ours."""
    (tmp_path / "slip.zip").write_bytes(as_zip({name: NOTE}))
    assert reasons(read(tmp_path)) == [("slip.zip", None, "unsafe_archive")]


def test_links_passwords_and_corruption_affect_only_their_entry(tmp_path: Path) -> None:
    """The other entries of the archive are read."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        for name in ("bad.txt", "good.txt", "locked.txt"):
            archive.writestr(name, NOTE)
    packed = bytearray(buffer.getvalue())
    packed[packed.index(NOTE)] ^= 0xFF  # corrupts the checksum of bad.txt
    entry = packed.rindex(b"PK\x01\x02")
    packed[entry + 8] |= 1  # marks locked.txt as encrypted
    (tmp_path / "mixed.zip").write_bytes(packed)
    reading = read(tmp_path)
    assert reasons(reading) == [
        ("mixed.zip/bad.txt", None, "corrupt_file"),
        ("mixed.zip/link.txt", None, "not_a_file"),
        ("mixed.zip/locked.txt", None, "encrypted"),
    ]
    assert reading.reports.column("report_id").to_pylist() == ["b1/mixed.zip/good"]


def test_an_empty_archive_is_unreadable(tmp_path: Path) -> None:
    """A failed export must not pass as an empty batch."""
    (tmp_path / "empty.zip").write_bytes(as_zip({}))
    assert reasons(read(tmp_path)) == [("empty.zip", None, "empty")]


def test_a_batch_file_in_an_archive_is_reported(tmp_path: Path) -> None:
    """Its author expects it to take effect."""
    (tmp_path / "all.zip").write_bytes(as_zip({"batch.yaml": b"source: x\n", "a.txt": NOTE}))
    assert reasons(read(tmp_path)) == [("all.zip/batch.yaml", None, "unsupported_format")]
