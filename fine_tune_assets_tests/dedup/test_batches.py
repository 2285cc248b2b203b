"""Reports of many batches: read in parts, in one order whatever theirs is, and more text than one column can hold."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.progress import silent
from fine_tune_assets.dedup.batches import Batches, by_batch
from fine_tune_assets.dedup.duplicates import find_among, find_duplicates
from fine_tune_assets.tables.columns import rows_at
from fine_tune_assets.tables.phi import ScrubbedReport
from fine_tune_assets_tests.dedup.test_duplicates import LONG, SETTINGS, Meaning, reports_of
from fine_tune_assets_tests.stored_tables import stored_in

LIMIT_BYTES = 1 << 31
"""What one `string` column of Arrow can hold in one piece."""
HUGE = pa.array(["x" * (1 << 25)])


def _of_batch(name: str, texts: dict[str, str]) -> pa.Table:
    table = reports_of(texts)
    return table.set_column(1, ScrubbedReport.SCHEMA.field("batch"), pa.array([name] * table.num_rows, pa.string()))


def _several() -> dict[str, pa.Table]:
    """In one of them ids stand in no order; `a-` comes before `a/`, though `a` comes before `a-`."""
    return {
        "a": _of_batch("a", {f"a/{n}": f"{LONG} {n % 3}" for n in (3, 1, 2, 0)}),
        "a-b": _of_batch("a-b", {f"a-b/{n}": f"cough {n}" for n in (1, 0)}),
        "empty": _of_batch("empty", {}),
    }


@given(data=st.data(), sizes=st.lists(st.integers(0, 4), max_size=5))
def test_rows_at_takes_what_take_takes(data: st.DataObject, sizes: list[int]) -> None:
    """However the table is cut into chunks."""
    numbers = iter(range(sum(sizes)))
    chunks = [pa.array([f"text {next(numbers)}" for _ in range(size)], pa.string()) for size in sizes]
    table = pa.table({"text": pa.chunked_array(chunks, pa.string())})
    rows = data.draw(st.lists(st.integers(0, table.num_rows - 1))) if table.num_rows else []
    taken = rows_at(table, np.array(rows, np.int64))
    assert taken.equals(table.take(pa.array(rows, pa.int64())))


def test_rows_are_taken_from_more_text_than_one_column_can_join() -> None:
    """A million notes; pyarrow's own `take` joins the column first."""
    table = pa.table({"number": list(range(66)), "text": pa.chunked_array([HUGE] * 66)})
    assert table["text"].nbytes > LIMIT_BYTES
    with pytest.raises(pa.ArrowInvalid, match="offset overflow"):
        table.take(pa.array([65, 0]))
    assert rows_at(table, np.array([65, 0]))["number"].to_pylist() == [65, 0]


def test_reports_with_more_text_than_one_column_can_join_give_the_same_as_short_ones() -> None:
    """This was where a million notes ended. The texts share one piece of memory; what is compared is short here."""
    short = reports_of({f"b/{n:02}": f"knee pain number {n % 2}" for n in reversed(range(66))})
    texts = pa.chunked_array([HUGE] * short.num_rows)
    assert texts.nbytes > LIMIT_BYTES
    large = short.set_column(ScrubbedReport.SCHEMA.get_field_index("text"), ScrubbedReport.SCHEMA.field("text"), texts)
    one, other = (find_duplicates(table, SETTINGS, silent) for table in (short, large))
    assert other.unique["report_id"].to_pylist() == one.unique["report_id"].to_pylist() == ["b/00", "b/01"]
    assert other.duplicates.equals(one.duplicates)
    assert other.unique["text"][1].as_py() == HUGE[0].as_py()


def test_what_is_read_from_files_gives_the_same_as_one_table_in_memory(tmp_path: Path) -> None:
    """With the same fingerprint: an update of this program must not make everything after it anew."""
    tables = _several()
    whole = pa.concat_tables(tables[name] for name in ("a-b", "a"))
    from_memory = find_duplicates(whole, SETTINGS, silent, Meaning(), "v")
    from_files = find_among(stored_in(tmp_path, tables), SETTINGS, silent, Meaning(), "v")
    ids = from_files.unique["report_id"].to_pylist()
    assert ids == sorted(ids)
    assert len(ids) < whole.num_rows
    assert fingerprint_table(from_files.unique) == fingerprint_table(from_memory.unique)
    assert fingerprint_table(from_files.duplicates) == fingerprint_table(from_memory.duplicates)


def test_the_unique_reports_are_sorted_by_id_whatever_their_batches_are_called() -> None:
    """The order is part of the table's fingerprint."""
    batches = {"a": _of_batch("a", {"z/1": "knee", "b/1": "cough"}), "b": _of_batch("b", {"c/1": "fever"})}
    unique = find_among(batches, SETTINGS, silent).unique
    assert unique["report_id"].to_pylist() == ["b/1", "c/1", "z/1"]


def test_a_large_batch_comes_in_parts_that_are_stored_under_names_of_their_own() -> None:
    """All reports of a hospital in one folder: what is computed of a part must fit in memory."""
    reports = Batches(_several(), part_reports=3)
    parts = [(name, part["report_id"].to_pylist()) for name, part in reports.parts()]
    assert parts == [("a-b", ["a-b/0", "a-b/1"]), ("a", ["a/0", "a/1", "a/2"]), ("a/1", ["a/3"])]
    assert reports.texts_at(np.array([3, 5])).to_pylist() == [f"{LONG} 1", f"{LONG} 0"]
    assert len(reports) == 6


def test_a_pair_across_batches_is_held_against_the_passages_of_both() -> None:
    """A new last page counts, also where its vectors are read again from what is kept of another batch."""

    def encode(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Each of the first five words is a passage; the same word has the same vector."""
        words = [text.split()[:5] for text in texts]
        vectors = np.array([np.eye(3)["xyz".index(word)] for of_text in words for word in of_text], np.float32)
        return vectors.reshape(-1, 3), np.array([len(of_text) for of_text in words], np.int32)

    texts = {"a/1": "x x x x y one", "b/1": "x x x x z two", "c/1": "y x x x x three", "d/1": "z z z z z four"}
    batches = {name[0]: _of_batch(name[0], {name: text}) for name, text in texts.items()}
    found = find_among(batches, SETTINGS, silent, encode, "v").duplicates.to_pylist()
    assert [(row["dropped_id"], row["kept_id"], row["kind"]) for row in found] == [("a/1", "c/1", "semantic")]


def test_a_table_with_one_batch_is_not_copied() -> None:
    """`fine-tune duplicates` hands over all documents as one."""
    table = reports_of({"b/1": "knee", "b/2": "cough"})
    assert by_batch(table) == {"b": table}
