"""Stage 1 in Dagster: a batch without a readable file is shown as such, and the other batches go on."""

from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq

from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import materialize_stale

READING = {"reports", "unreadable_reports"}
CHECK = dg.AssetCheckKey(dg.AssetKey("reports"), "batch_has_readable_reports")


def _drop(data: Path, batch: str, content: bytes) -> None:
    (data / "raw_reports" / batch).mkdir()
    (data / "raw_reports" / batch / "visit.txt").write_bytes(content)


def _newest_check(instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    (record,) = instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=1)
    assert record.event is not None
    assert record.event.dagster_event is not None
    return record.event.dagster_event.asset_check_evaluation_data


def test_a_batch_with_a_readable_report_passes_the_check(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """The check below means nothing if it never passed."""
    _drop(installation_dir, "2026-01", b"---\npatient_id: p-1\n---\nRest.\n")
    assert materialize_stale(defs, instance, only=READING).failed == []
    assert _newest_check(instance).passed


def test_a_batch_without_a_readable_report_is_marked_and_loses_nothing(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """Somebody dropped the wrong folder: they see it, and what was in it is accounted for."""
    _drop(installation_dir, "2026-02", b"\x00\x01\x02" * 50)
    assert materialize_stale(defs, instance, only=READING).failed == []
    check = _newest_check(instance)
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert {name: value.value for name, value in check.metadata.items()} == {
        "read": 0,
        "unreadable": 1,
        "files": 1,
        "batch": "2026-02",
    }
    rows = pq.read_table(installation_dir / "tables" / "unreadable_reports" / "2026-02.parquet").to_pylist()
    assert [(row["origin_file"], row["reason"]) for row in rows] == [("visit.txt", "not_text")]
