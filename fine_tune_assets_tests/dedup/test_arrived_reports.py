from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.dedup.batches import missing_by_batch


def _ids(name: str, *ids: str) -> pa.Table:
    return pa.table({name: pa.array(ids, pa.string())})


def test_reports_that_were_read_and_did_not_arrive_are_counted_by_batch(tmp_path: Path) -> None:
    """A batch whose scrubbing failed is missing from everything behind it, and nobody would notice."""
    for batch, count in (("a", 3), ("b", 2)):
        ids = [f"{batch}/{number}" for number in range(count)]
        pq.write_table(pa.table({"report_id": ids, "batch": [batch] * count}), tmp_path / f"{batch}.parquet")
    unique, dropped = _ids("report_id", "a/0", "a/1"), _ids("dropped_id", "a/2")
    held = tmp_path / "held"
    assert missing_by_batch(tmp_path, held, unique, dropped) == {"b": 2}
    assert missing_by_batch(tmp_path, held, _ids("report_id", "a/0", "a/1", "b/0", "b/1"), dropped) == {}


def test_where_nothing_was_read_nothing_is_missing(tmp_path: Path) -> None:
    assert missing_by_batch(tmp_path / "none", tmp_path / "held", _ids("report_id"), _ids("dropped_id")) == {}


def test_a_report_that_is_held_back_is_not_missing(tmp_path: Path) -> None:
    """`no_report_is_held_back` says so already; here it would hide a batch that the scrubber never took."""
    pq.write_table(pa.table({"report_id": ["a/0", "a/1"], "batch": ["a", "a"]}), tmp_path / "a.parquet")
    (tmp_path / "held").mkdir()
    pq.write_table(pa.table({"report_id": ["a/1", "a/1"]}), tmp_path / "held" / "a.parquet")
    assert missing_by_batch(tmp_path, tmp_path / "held", _ids("report_id", "a/0"), _ids("dropped_id")) == {}
    assert missing_by_batch(tmp_path, tmp_path / "held", _ids("report_id"), _ids("dropped_id")) == {"a": 1}
