"""Stage 1 in Dagster: a batch without a readable file is shown as such, and the other batches go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread

import dagster as dg
import pyarrow.parquet as pq
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from fine_tune_assets.defs.local_run import materialize_stale, report_source_changes
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.raw_reports import report_batches
from fine_tune_assets_tests.claims.paragraphs import PARAGRAPHS
from fine_tune_assets_tests.conftest import replace_file
from fine_tune_assets_tests.defs.first_stage import defs

READING = {"reports"}
CHECK = dg.AssetCheckKey(dg.AssetKey("reports"), "batch_has_readable_reports")
LANGUAGE_CHECK = dg.AssetCheckKey(dg.AssetKey("reports"), "reports_are_in_english")


def _drop(data: Path, batch: str, content: bytes) -> None:
    (data / "raw_reports" / batch).mkdir()
    (data / "raw_reports" / batch / "visit.txt").write_bytes(content)


def _newest_check(instance: dg.DagsterInstance, key: dg.AssetCheckKey = CHECK) -> dg.AssetCheckEvaluation:
    (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    assert record.event.dagster_event is not None
    return record.event.dagster_event.asset_check_evaluation_data


def test_a_batch_with_a_readable_report_passes_the_check(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """The check below means nothing if it never passed."""
    _drop(installation_dir, "2026-01", b"---\nsubject_id: p-1\n---\nRest.\n")
    assert materialize_stale(defs, instance, only=READING).failed == []
    assert _newest_check(instance).passed


def test_a_batch_without_a_readable_report_is_marked_and_loses_nothing(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """A user who added the wrong folder sees a warning, and every file in it is accounted for."""
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


def test_a_batch_that_is_not_in_english_is_marked_and_read(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """The scrubber is made for English. The reports go on as before: the warning is for a person."""
    _drop(installation_dir, "2026-01", b"---\nsubject_id: p-1\n---\nRest.\n")
    assert materialize_stale(defs, instance, only=READING).failed == []
    assert _newest_check(instance, LANGUAGE_CHECK).passed
    text = "---\nsubject_id: p-1\n---\n" + PARAGRAPHS["Dutch"][0]
    _drop(installation_dir, "2026-02", text.encode())
    assert materialize_stale(defs, instance, only=READING).failed == []
    check = _newest_check(instance, LANGUAGE_CHECK)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    shown = {name: value.value for name, value in check.metadata.items()}
    assert (shown["not_english"], shown["share"], shown["batch"]) == (1, 1.0, "2026-02")
    assert "Dutch 1" in str(shown["reason"])
    assert "kortademigheid" not in str(shown)
    assert [read.strip() for read in _texts(installation_dir, "2026-02")] == [PARAGRAPHS["Dutch"][0]]
    rows = pq.read_table(installation_dir / "tables" / "report_languages" / "2026-02.parquet").to_pylist()
    assert rows == [{"batch": "2026-02", "language": "Dutch", "reports": 1}]


def _report(plan: str) -> bytes:
    return f"---\nsubject_id: p-1\n---\nPLAN\n\n{plan}\n".encode()


def _texts(data: Path, batch: str) -> list[str]:
    return pq.read_table(data / "tables" / "reports" / f"{batch}.parquet").column("text").to_pylist()


def _read(instance: dg.DagsterInstance, batch: str) -> dg.ExecuteInProcessResult:
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in READING],
        partition_key=batch,
        raise_on_error=False,
    )


def _failure(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.error is not None
    return failure.step_failure_data.error.to_string()


@contextmanager
def _kept_changing(file: Path) -> Iterator[None]:
    stop = Event()

    def change() -> None:
        for number in count():
            replace_file(file, _report(f"Rest {number} days."))
            if stop.wait(0.001):
                return

    thread = Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_batch_that_was_another_one_for_a_moment_ends_up_as_it_is(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """The sensor sees A, the run reads B, then the folder is A again: no change would be detected, and B would stay."""
    _drop(installation_dir, "2026-03", _report("Rest."))
    visit = installation_dir / "raw_reports" / "2026-03" / "visit.txt"
    report_source_changes(instance)
    replace_file(visit, _report("Half"))
    assert _read(instance, "2026-03").success
    replace_file(visit, _report("Rest."))
    assert materialize_stale(defs, instance, only=READING).failed == []
    assert _texts(installation_dir, "2026-03") == ["PLAN\n\nRest.\n"]
    assert materialize_stale(defs, instance, only=READING).runs == []


def test_a_batch_that_keeps_changing_is_not_stored_and_is_read_again_automatically(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """A copy into the final name takes minutes. A failed run on unchanged inputs would never be started again."""
    first = _report("Rest.")
    _drop(installation_dir, "2026-04", first)
    visit = installation_dir / "raw_reports" / "2026-04" / "visit.txt"
    report_source_changes(instance)
    with _kept_changing(visit):
        result = _read(instance, "2026-04")
    assert not result.success
    assert "Batch 2026-04 changed" in _failure(result)
    assert not (installation_dir / "tables" / "reports").exists()
    replace_file(visit, first)
    assert [run.is_success for run in materialize_stale(defs, instance, only=READING).runs] == [True]
    assert _texts(installation_dir, "2026-04") == ["PLAN\n\nRest.\n"]


def test_a_folder_that_is_moved_away_leaves_its_tables_as_they_are(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """A disk that is not mounted for a moment would otherwise empty a good batch."""
    _drop(installation_dir, "2026-05", _report("Rest."))
    folder = installation_dir / "raw_reports" / "2026-05"
    assert materialize_stale(defs, instance, only=READING).failed == []
    folder.rename(installation_dir / "elsewhere")
    result = _read(instance, "2026-05")
    assert "The folder of batch 2026-05 is vanished" in _failure(result)
    assert [run.is_success for run in materialize_stale(defs, instance, only=READING).runs] == [False]
    assert _texts(installation_dir, "2026-05") == ["PLAN\n\nRest.\n"]


def test_a_lost_key_of_the_patients_is_not_replaced(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """With a second key, a patient of the old batch and of the new one could be in train and in test."""
    _drop(installation_dir, "2026-01", _report("Rest."))
    assert materialize_stale(defs, instance, only=READING).failed == []
    key = installation_dir / "keys" / "subjects.key"
    key.unlink()
    _drop(installation_dir, "2026-02", _report("More rest."))
    (failed,) = materialize_stale(defs, instance, only=READING).failed
    assert "subjects.key is missing" in failed.errors[0]
    assert not key.exists()


def test_folders_skipped_because_of_their_name_are_reported(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """Users must learn that a folder with a space in its name is not read. A file's name may be a patient's and is not shown."""
    root = installation_dir / "raw_reports"
    assert report_batches(instance, Installation()).skip_message == "No batch folder is new or changed."
    for number in range(6):
        (root / f"March {number}").mkdir()
    (root / "Zyxomarkwort.txt").touch()
    told = report_batches(instance, Installation()).skip_message
    assert "'March 0', 'March 1', 'March 2', 'March 3', 'March 4' and 1 more." in told
    assert "Ignored files outside batch folders: 1." in told
    assert "Zyxomarkwort" not in told


def test_a_removed_folder_is_noticed_and_changes_no_table(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """A lost disk must not delete what a model was trained on; data is removed only by a recorded erasure."""
    folder = installation_dir / "raw_reports" / "2026-01"
    _drop(installation_dir, "2026-01", _report("Rest."))
    assert materialize_stale(defs, instance, only=READING).failed == []
    moved = folder.rename(installation_dir / "elsewhere")
    for expected, restore in ((1, True), (0, False)):
        found = report_batches(instance, Installation())
        assert isinstance(found, dg.SensorResult)
        (evaluation,) = found.asset_events
        assert isinstance(evaluation, dg.AssetCheckEvaluation)
        assert (evaluation.passed, evaluation.metadata["missing_batches"].value) == (not expected, expected)
        instance.report_runless_asset_event(evaluation)
        assert isinstance(report_batches(instance, Installation()), dg.SkipReason)  # reported once
        if restore:
            assert (installation_dir / "tables" / "reports" / "2026-01.parquet").is_file()
            moved.rename(folder)


def test_each_batch_is_checked_separately(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """With several runs at once the newest batch may be another one, and a good batch would hide a bad one."""
    _drop(installation_dir, "bad", b"\x00\x01\x02" * 50)
    _drop(installation_dir, "good", _report("Rest."))
    assert materialize_stale(defs, instance, only=READING).failed == []
    alone = defs.resolve_implicit_global_asset_job_def().get_subset(asset_check_selection={CHECK})
    assert alone.execute_in_process(instance=instance, partition_key="bad").success
    again = _newest_check(instance)
    assert (again.partition, again.passed, again.metadata["batch"].value) == ("bad", False, "bad")
    (found,) = instance.event_log_storage.get_asset_check_partition_info([CHECK], partition_keys=["good"])
    assert found.latest_execution_status is AssetCheckExecutionRecordStatus.SUCCEEDED
