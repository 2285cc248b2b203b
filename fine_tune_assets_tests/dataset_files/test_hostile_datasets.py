"""Data sets made to be read at somebody's cost: small files with huge contents, and links to what must not be imported."""

import gzip
import resource
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
