"""Reading the reports of many batches in parts: fixed order, and more text than one Arrow column can hold."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.dedup.duplicates import find_duplicates, find_duplicates_in_batches
from fine_tune_assets.dedup.report_reader import ReportBatches, split_by_batch
from fine_tune_assets.tables.row_selection import take_rows
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport
from fine_tune_assets_tests.dedup.scrubbed_texts import LONG, SETTINGS, Meaning, reports_of
from fine_tune_assets_tests.stored_tables import stored_in

LIMIT_BYTES = 1 << 31
"""Capacity of one Arrow `string` array."""
HUGE = pa.array(["x" * (1 << 25)])


def _of_batch(name: str, texts: dict[str, str]) -> pa.Table:
    table = reports_of(texts)
    return table.set_column(1, ScrubbedReport.SCHEMA.field("batch"), pa.array([name] * table.num_rows, pa.string()))


def _several() -> dict[str, pa.Table]:
    """Batches with unsorted ids; `a-` sorts before `a/`, although `a` sorts before `a-`."""
    return {
        "a": _of_batch("a", {f"a/{n}": f"{LONG} {n % 3}" for n in (3, 1, 2, 0)}),
        "a-b": _of_batch("a-b", {f"a-b/{n}": f"cough {n}" for n in (1, 0)}),
        "empty": _of_batch("empty", {}),
    }


@given(data=st.data(), sizes=st.lists(st.integers(0, 4), max_size=5))
def test_take_rows_equals_pyarrows_take(data: st.DataObject, sizes: list[int]) -> None:
    """For any chunking of the table."""
    numbers = iter(range(sum(sizes)))
    chunks = [pa.array([f"text {next(numbers)}" for _ in range(size)], pa.string()) for size in sizes]
    table = pa.table({"text": pa.chunked_array(chunks, pa.string())})
    rows = data.draw(st.lists(st.integers(0, table.num_rows - 1))) if table.num_rows else []
    taken = take_rows(table, np.array(rows, np.int64))
    assert taken.equals(table.take(pa.array(rows, pa.int64())))


def test_rows_are_taken_from_more_text_than_one_array_can_hold() -> None:
    """A million notes; pyarrow's `take` concatenates the column first."""
    table = pa.table({"number": list(range(66)), "text": pa.chunked_array([HUGE] * 66)})
    assert table["text"].nbytes > LIMIT_BYTES
    with pytest.raises(pa.ArrowInvalid, match="offset overflow"):
        table.take(pa.array([65, 0]))
    assert take_rows(table, np.array([65, 0]))["number"].to_pylist() == [65, 0]


def test_more_text_than_one_array_can_hold_gives_the_same_result() -> None:
    """A million notes used to fail here. The texts share memory, and the compared part is short."""
    short = reports_of({f"b/{n:02}": f"knee pain number {n % 2}" for n in reversed(range(66))})
    texts = pa.chunked_array([HUGE] * short.num_rows)
    assert texts.nbytes > LIMIT_BYTES
    large = short.set_column(ScrubbedReport.SCHEMA.get_field_index("text"), ScrubbedReport.SCHEMA.field("text"), texts)
    one, other = (find_duplicates(table, SETTINGS, ignore_progress) for table in (short, large))
    assert other.unique["report_id"].to_pylist() == one.unique["report_id"].to_pylist() == ["b/00", "b/01"]
    assert other.duplicates.equals(one.duplicates)
    assert other.unique["text"][1].as_py() == HUGE[0].as_py()


def test_reading_from_files_equals_one_table_in_memory(tmp_path: Path) -> None:
    """With the same fingerprint, so that an update does not make all downstream assets stale."""
    tables = _several()
    table = pa.concat_tables(tables[name] for name in ("a-b", "a"))
    from_memory = find_duplicates(table, SETTINGS, ignore_progress, Meaning(), "v")
    from_files = find_duplicates_in_batches(stored_in(tmp_path, tables), SETTINGS, ignore_progress, Meaning(), "v")
    ids = from_files.unique["report_id"].to_pylist()
    assert ids == sorted(ids)
    assert len(ids) < table.num_rows
    assert fingerprint_table(from_files.unique) == fingerprint_table(from_memory.unique)
    assert fingerprint_table(from_files.duplicates) == fingerprint_table(from_memory.duplicates)


def test_unique_reports_are_sorted_by_id_regardless_of_batch_names() -> None:
    """The order is part of the table's fingerprint."""
    batches = {"a": _of_batch("a", {"z/1": "knee", "b/1": "cough"}), "b": _of_batch("b", {"c/1": "fever"})}
    unique = find_duplicates_in_batches(batches, SETTINGS, ignore_progress).unique
    assert unique["report_id"].to_pylist() == ["b/1", "c/1", "z/1"]


def test_a_large_batch_is_split_into_separately_stored_parts() -> None:
    """A hospital's reports may be one folder, and the arrays of a part must fit into memory."""
    reports = ReportBatches(_several(), reports_per_part=3)
    parts = [(name, part["report_id"].to_pylist()) for name, part in reports.parts()]
    assert parts == [("a-b", ["a-b/0", "a-b/1"]), ("a", ["a/0", "a/1", "a/2"]), ("a/1", ["a/3"])]
    assert reports.texts_at(np.array([3, 5])).to_pylist() == [f"{LONG} 1", f"{LONG} 0"]
    assert len(reports) == 6


def test_a_pair_across_batches_is_compared_by_the_passages_of_both() -> None:
    """A new last page counts, even if its vectors are loaded from another batch's store."""

    def encode(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The first five words are passages; equal words have equal vectors."""
        words = [text.split()[:5] for text in texts]
        vectors = np.array([np.eye(3)["xyz".index(word)] for of_text in words for word in of_text], np.float32)
        return vectors.reshape(-1, 3), np.array([len(of_text) for of_text in words], np.int32)

    texts = {"a/1": "x x x x y one", "b/1": "x x x x z two", "c/1": "y x x x x three", "d/1": "z z z z z four"}
    batches = {name[0]: _of_batch(name[0], {name: text}) for name, text in texts.items()}
    dropped = find_duplicates_in_batches(batches, SETTINGS, ignore_progress, encode, "v").duplicates.to_pylist()
    assert [(row["dropped_id"], row["kept_id"], row["kind"]) for row in dropped] == [("a/1", "c/1", "semantic")]


def test_a_table_with_one_batch_is_not_copied() -> None:
    """`fine-tune duplicates` passes all documents as one batch."""
    table = reports_of({"b/1": "knee", "b/2": "cough"})
    assert split_by_batch(table) == {"b": table}
