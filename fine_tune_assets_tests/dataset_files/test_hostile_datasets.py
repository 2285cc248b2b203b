"""Data sets made to be read at somebody's cost: small files with huge contents, and links to what must not be imported."""

import gzip
import resource
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.dataset_files.dataset_reader import open_dataset
from fine_tune_assets.dataset_files.dataset_rows import DatasetError, Refusal
from fine_tune_assets.dataset_files.file_rows import MAX_ROW_BYTES

ROW = '{"instruction": "Why?", "output": "So."}\n'


@pytest.mark.parametrize("target", ["confidential.jsonl", "confidential"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    """A data set from elsewhere could name this installation's raw reports, which would be trained on unscrubbed."""
    (tmp_path / "confidential").mkdir()
    (tmp_path / "confidential.jsonl").write_text(ROW)
    (tmp_path / "confidential" / "visits.jsonl").write_text(ROW)
    folder = tmp_path / "downloaded"
    folder.mkdir()
    (folder / "rows.jsonl").write_text(ROW)
    (folder / "more.jsonl").symlink_to(tmp_path / target)
    if target.endswith(".jsonl"):
        with pytest.raises(DatasetError):
            open_dataset(folder)
    else:  # a folder behind a link is not entered
        assert [file.name for file in open_dataset(folder).files] == ["rows.jsonl"]


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    """Caches of model hubs consist of them."""
    (tmp_path / "blob").write_text(ROW)
    (tmp_path / "rows.jsonl").symlink_to("blob")
    assert [file.name for file in open_dataset(tmp_path).files] == ["blob", "rows.jsonl"]


@pytest.mark.parametrize("head", ["instruction,output\n", "instruction,output"])
def test_a_zipped_line_without_an_end_is_not_held_in_memory(tmp_path: Path, head: str) -> None:
    """A megabyte of gzip can hold a gigabyte."""
    path = tmp_path / "rows.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head.encode())
        for _ in range(100):
            file.write(b"a" * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DatasetError):
        open_dataset(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 90 * 2**10


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_huge_value_that_many_rows_share_is_refused_row_by_row(tmp_path: Path, kind: str) -> None:
    """A dictionary holds it once: two kilobytes of Parquet became five gigabytes."""
    path, rows = tmp_path / f"rows.{kind}", 300
    values = pa.DictionaryArray.from_arrays(pa.array([0] * rows + [1], pa.int32()), ["a" * (MAX_ROW_BYTES + 1), "So."])
    table = pa.table({"instruction": ["Why?"] * (rows + 1), "output": values})
    if kind == "parquet":
        pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=2**30)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    contents = [row.content for row in open_dataset(path, "alpaca").rows()]
    assert contents[:rows] == [Refusal.TOO_LARGE] * rows
    assert not isinstance(contents[rows], Refusal)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 3 * 2**20


def _forge(path: Path, name: str, value: int, hole: int = 0) -> None:
    """Write a Parquet file whose end claims another value for its columns, after `hole` bytes that take no room on the disk."""
    texts = [f"text {number}" for number in range(1000)]
    pq.write_table(pa.table({"instruction": texts, "output": texts}), path, use_dictionary=False)
    with pq.ParquetFile(path) as file:
        old = getattr(file.metadata.row_group(0).column(0), name)
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[-8:-4])
    end = data[-8 - length : -8]
    assert _varint(old) in end
    forged = end.replace(_varint(old), _varint(value))
    with path.open("wb") as written:
        written.write(data[: -8 - length])
        written.seek(hole, 1)
        written.write(forged + struct.pack("<I", len(forged)) + b"PAR1")


def _varint(number: int) -> bytes:
    """As Thrift's compact protocol writes an integer."""
    number, written = number * 2, bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])


@pytest.mark.parametrize("name", ["total_compressed_size", "num_values"])
def test_a_parquet_file_that_claims_more_than_it_contains_is_refused(tmp_path: Path, name: str) -> None:
    """A file with a thousand rows that claims a trillion would otherwise count as complete."""
    _forge(tmp_path / "rows.parquet", name, 10**12)
    with pytest.raises(DatasetError):
        list(open_dataset(tmp_path / "rows.parquet").rows())


def test_a_column_is_not_read_into_memory_at_the_size_that_it_claims(tmp_path: Path) -> None:
    """A file with a hole of a gigabyte takes a few kilobytes on the disk."""
    _forge(tmp_path / "rows.parquet", "total_compressed_size", 5 * 10**8, hole=11 * 10**8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(list(open_dataset(tmp_path / "rows.parquet").rows())) == 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10
