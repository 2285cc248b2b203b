from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.dedup.report_reader import count_missing_by_batch


def _ids(name: str, *ids: str) -> pa.Table:
    return pa.table({name: pa.array(ids, pa.string())})


def test_reports_missing_from_deduplication_are_counted_by_batch(tmp_path: Path) -> None:
    """A batch whose scrubbing failed is silently missing from all downstream assets."""
    for batch, count in (("a", 3), ("b", 2)):
        ids = [f"{batch}/{number}" for number in range(count)]
        pq.write_table(pa.table({"report_id": ids, "batch": [batch] * count}), tmp_path / f"{batch}.parquet")
    unique, dropped = _ids("report_id", "a/0", "a/1"), _ids("dropped_id", "a/2")
    held = tmp_path / "held"
    assert count_missing_by_batch(tmp_path, held, unique, dropped) == {"b": 2}
    assert count_missing_by_batch(tmp_path, held, _ids("report_id", "a/0", "a/1", "b/0", "b/1"), dropped) == {}


def test_without_reports_nothing_is_missing(tmp_path: Path) -> None:
    assert count_missing_by_batch(tmp_path / "none", tmp_path / "held", _ids("report_id"), _ids("dropped_id")) == {}


def test_a_withheld_report_is_not_missing(tmp_path: Path) -> None:
    """`no_report_is_withheld` reports it; counting it here would hide a batch that was never scrubbed."""
    pq.write_table(pa.table({"report_id": ["a/0", "a/1"], "batch": ["a", "a"]}), tmp_path / "a.parquet")
    (tmp_path / "held").mkdir()
    pq.write_table(pa.table({"report_id": ["a/1", "a/1"]}), tmp_path / "held" / "a.parquet")
    assert count_missing_by_batch(tmp_path, tmp_path / "held", _ids("report_id", "a/0"), _ids("dropped_id")) == {}
    assert count_missing_by_batch(tmp_path, tmp_path / "held", _ids("report_id"), _ids("dropped_id")) == {"a": 1}
