"""Stage 1 in Dagster: other rules read a batch again, and a batch with a lost file goes no further, alone."""

from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq

from fine_tune_assets.defs.local_run import materialize_stale
from fine_tune_assets.defs.platform.automation import CODE_VERSION, on_new_batches
from fine_tune_assets_tests.defs.first_stage import defs
from fine_tune_assets_tests.reports.sample_files import (
    REPORT,
    WITH_PATIENT,
    WITH_SIDECAR,
    as_docx,
    as_zip,
    front_matter,
)

READING = {"reports"}
CHECK = dg.AssetCheckKey(dg.AssetKey("reports"), "every_file_is_accounted_for")


def _drop(data: Path, batch: str, files: dict[str, bytes]) -> None:
    folder = data / "raw_reports" / f"{batch}.partial"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    folder.rename(folder.with_suffix(""))


def _newest(instance: dg.DagsterInstance, asset: str) -> dg.AssetMaterialization:
    record = instance.fetch_materializations(dg.AssetKey(asset), limit=1).records[0]
    assert record.asset_materialization is not None
    return record.asset_materialization


def _checked(instance: dg.DagsterInstance, batch: str) -> bool:
    """Run the check alone, as a person can in the UI."""
    alone = defs.resolve_implicit_global_asset_job_def().get_subset(asset_check_selection={CHECK})
    alone.execute_in_process(instance=instance, partition_key=batch, raise_on_error=False)
    (record,) = instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=1)
    assert record.event is not None
    assert record.event.dagster_event is not None
    found = record.event.dagster_event.asset_check_evaluation_data
    assert (found.partition, found.blocking) == (batch, True)
    return found.passed


def _reported_again(instance: dg.DagsterInstance, asset: str, tags: dict[str, str], metadata: dict[str, int]) -> None:
    last = _newest(instance, asset)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset, partition=last.partition, tags={**(last.tags or {}), **tags}, metadata={**last.metadata, **metadata}
        )
    )


def test_a_batch_of_every_format_is_counted_and_read_again_by_other_rules(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """Better rules must apply to reports that were read before, and an uncounted file would be lost silently.

    One story, since each run costs seconds.
    """
    files = {f"own-{ending}.{ending}": write(REPORT) for ending, write in WITH_PATIENT.items()}
    files |= {f"with-{ending}.{ending}": write(REPORT) for ending, write in WITH_SIDECAR.items()}
    files |= {f"with-{ending}.yaml": front_matter(REPORT).encode() for ending in WITH_SIDECAR}
    files |= {"all.zip": as_zip({"in.docx": as_docx(REPORT), "photo.png": b"\x89PNG"}), ".hidden": b"x"}
    _drop(installation_dir, "2026-01", files)
    assert materialize_stale(defs, instance, only=READING).failed == []
    table = pq.read_table(installation_dir / "tables" / "reports" / "2026-01.parquet")
    assert table.num_rows == len(WITH_PATIENT) + len(WITH_SIDECAR)
    counts = {name: value.value for name, value in _newest(instance, "reports").metadata.items()}
    assert {name: counts[name] for name in counts if name.startswith("files")} == {
        "files": 17, "files_read": 9, "files_unreadable": 2, "files_ignored": 6,
    }  # fmt: skip
    assert counts["ignored_by_reason"] == {"archive": 1, "hidden": 1, "sidecar": 4}
    assert _checked(instance, "2026-01")

    assert materialize_stale(defs, instance, only=READING).runs == []
    for asset in READING:
        assert CODE_VERSION in (_newest(instance, asset).tags or {})
        _reported_again(instance, asset, {CODE_VERSION: "other rules"}, {})
    again = materialize_stale(defs, instance, only=READING)
    assert {(asset, partition) for asset, partition in again.materialized} == {(name, "2026-01") for name in READING}
    assert materialize_stale(defs, instance, only=READING).runs == []

    _reported_again(instance, "reports", {}, {"files": 18})
    assert not _checked(instance, "2026-01")


def test_a_batch_whose_gate_is_closed_does_not_hold_up_the_others() -> None:
    """One lost file in one batch must not stop the whole house."""
    batches = dg.DynamicPartitionsDefinition(name="batches")

    @dg.asset(partitions_def=batches)
    def read() -> None: ...

    @dg.asset_check(asset=read, partitions_def=batches, blocking=True)
    def is_balanced(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=context.partition_key != "bad")

    @dg.asset(deps=[read], partitions_def=batches, automation_condition=on_new_batches())
    def scrubbed() -> None: ...

    small = dg.Definitions(assets=[read, scrubbed], asset_checks=[is_balanced])
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("batches", ["bad", "good"])
        job = small.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection={read.key}, asset_check_selection={next(iter(is_balanced.check_keys))}
        )
        for batch in ("good", "bad"):
            job.execute_in_process(instance=instance, partition_key=batch, raise_on_error=False)
        evaluated = dg.evaluate_automation_conditions(defs=small, instance=instance)
        (result,) = [r for r in evaluated.results if r.key == scrubbed.key]
        assert result.true_subset.expensively_compute_partition_keys() == {"good"}
