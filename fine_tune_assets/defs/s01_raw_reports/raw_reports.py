"""Stage 1: reads batch folders into reports, and detects new and changed batches."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, fields

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.claims.languages import LIMIT, count_other_languages, describe_languages
from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.fingerprints import FileHashCache, fingerprint_table, short
from fine_tune_assets.defs.jobs import INGEST_BATCH, plan_ingest
from fine_tune_assets.defs.platform.asset_keys import asset_key, batch_partitions
from fine_tune_assets.defs.platform.automation import batch_event, batch_versions, on_new_batches
from fine_tune_assets.defs.platform.column_lineage import file_column
from fine_tune_assets.defs.platform.kept_instance import kept_instance
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    REASON,
    bar_table,
    check_result,
    count_values,
    definition_metadata,
    grows_old,
    read_metadata,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.production_checks import report_changed_check
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, user_facing_errors
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import ChangedBatchError, FileCounts, count_by_reason, read_batch_version
from fine_tune_assets.reports.batches import StrayEntries, find_stray_entries, fingerprint_batch, list_batches
from fine_tune_assets.reports.reader_version import read_reader_version
from fine_tune_assets.reports.unreadable_files import UnreadableReason
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.report_rows import ReportLanguage

GROUP = "s01_raw_reports"
BATCHES = dg.DynamicPartitionsDefinition(name=batch_partitions())
MAX_NEW_PARTITIONS = 500
"""SQLite rejects too many keys in one call (dagster issue 16260)."""
MAX_REREADS = 3
"""Times that a run reads a batch again that changed during reading. After that it fails; the next run tries again."""
RETRY_PAUSE_SECONDS = 1
MAX_NAMES_SHOWN = 5
NOT_ENGLISH = "not_english"
MISSING_CHECK, MISSING_METRIC, CHECKED_ASSET = "batch_folders_are_present", "missing_batches", "unique_reports"
ERASED_SUBJECTS = asset_key("erased_subjects")
_HASH_CACHE = FileHashCache(max_files=100_000, now_ns=time.time_ns)
"""Used by the sensor only: a step always hashes the bytes that it reads."""

raw_reports = dg.AssetSpec(
    "raw_reports",
    partitions_def=BATCHES,
    group_name=GROUP,
    description="The batch folders in `data/raw_reports`. Each folder is one partition.",
    owners=OWNERS["data"],
    kinds={"file"},
    tags={"phi": "yes"},
    metadata=file_column("A report file, an archive of them, or a table with one report per row"),
    freshness_policy=grows_old(warn_days=14, fail_days=60),
)


@dg.asset(
    group_name=GROUP,
    deps=[raw_reports, ERASED_SUBJECTS],
    partitions_def=BATCHES,
    automation_condition=on_new_batches(optional=dg.AssetSelection.assets(ERASED_SUBJECTS)),
    code_version=code_version("subjects", own=short(read_reader_version())),
    description="All readable reports, with the identifiers that their metadata states. Files and records that could not be "
    "read are in the table `unreadable_reports`, with the reason.",
    owners=OWNERS["data"],
    kinds={"parquet"},
    tags={"phi": "yes"},
    metadata=definition_metadata("reports"),
)
def reports(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult[pa.Table]:
    batch = context.partition_key
    folder = installation.layout.raw_reports / batch
    # Dagster records this version as the source of the tables, so tables of any other version must not be stored: once the
    # folder is back at this version, no difference would be detected, and the wrong table would never be replaced.
    version = batch_versions(context.instance, asset_key("raw_reports"), [batch]).get(batch)
    with user_facing_errors():
        # Read first: a subject that is erased during reading triggers another reading of the batch.
        erased = installation.erased_subjects()
        is_required = installation.recipe.reports_without_subject == "refuse"
        try:
            reading = read_batch_version(
                folder,
                batch,
                installation.subject_secret,
                ReadLimits(),
                version,
                erased,
                is_required,
                load_pack(installation.recipe.domain).pack.own_kinds,
            )
        except ChangedBatchError:
            # Report the current version here, since the sensor reports nothing if the folder is back at the previous version.
            # The retry reads it, or after the last retry the next run: an event newer than a failed run triggers a new run.
            context.instance.report_runless_asset_event(
                batch_event(asset_key("raw_reports"), batch, fingerprint_batch(folder))
            )
            if context.retry_number < MAX_REREADS:
                raise dg.RetryRequested(max_retries=MAX_REREADS, seconds_to_wait=RETRY_PAUSE_SECONDS) from None
            raise
    refused = pc.sum(pc.equal(reading.unreadable["reason"], UnreadableReason.ERASED_SUBJECT.value)).as_py() or 0
    languages = count_other_languages(reading.reports["text"].to_pylist())
    counts = {
        **asdict(reading.file_counts),
        "of_erased_subjects": refused,
        "read": reading.reports.num_rows,
        "unreadable": reading.unreadable.num_rows,
        "ignored_by_reason": dg.MetadataValue.json(count_by_reason(reading.ignored)),
        NOT_ENGLISH: dg.MetadataValue.json(languages),
        "by_source": bar_table("source", count_values(reading.reports["source"])),
        "unreadable_by_reason": bar_table("reason", count_values(reading.unreadable["reason"])),
    }
    rows = [{"batch": batch, "language": name, "reports": count} for name, count in languages.items()]
    installation.stored("unreadable_reports").write(reading.unreadable, batch)
    installation.stored("report_languages").write(table_from_rows(rows, ReportLanguage.SCHEMA), batch)
    return table_result("reports", reading.reports, fingerprint_table(reading.reports), **counts)


# Partitioned like the asset: otherwise a later good batch would replace the result of a bad one, and concurrent runs could check
# each other's batches. This is a preview feature; Dagster 1.13.27 stores and shows the partition of each result.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.PreviewWarning)

    @dg.asset_check(asset="reports", partitions_def=BATCHES, description="The batch has at least one readable report.")
    def batch_has_readable_reports(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        batch = context.partition_key
        metadata = read_metadata(context.instance, "reports", batch)
        counts = {name: metadata.get(name) for name in ("read", "unreadable", "files")}
        return warning_result(metadata["read"] > 0, **counts, batch=batch)

    @dg.asset_check(
        asset="reports",
        partitions_def=BATCHES,
        description="The reports of the batch are in English, for which the scrubber is made. Texts too short to tell count as "
        "English.",
    )
    def reports_are_in_english(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        batch = context.partition_key
        metadata = read_metadata(context.instance, "reports", batch)
        languages = metadata.get(NOT_ENGLISH) or {}
        count = sum(languages.values())
        reason = (
            f"{count} of {metadata['read']} reports of batch {batch} are not in English ({describe_languages(languages)}). "
            f"{LIMIT} Take them out of the batch, or measure the scrubber on labelled reports in their language."
        )
        share = count / metadata["read"] if metadata["read"] else 0.0
        return warning_result(not count, reason if count else None, not_english=count, share=share, batch=batch)

    @dg.asset_check(
        asset="reports",
        partitions_def=BATCHES,
        blocking=True,
        description="Every file and archive entry of the batch was read, listed as unreadable, or ignored for a stated reason.",
    )
    def every_file_is_accounted_for(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        batch = context.partition_key
        metadata = read_metadata(context.instance, "reports", batch)
        counts = {field.name: metadata[field.name] for field in fields(FileCounts) if field.name in metadata}
        passed = len(counts) == len(fields(FileCounts)) and FileCounts(**counts).is_balanced
        reason = f"A file of batch {batch} was neither read, nor listed as unreadable, nor ignored. {materialize_hint('reports')}"
        return check_result(passed, None if passed else reason, **counts, batch=batch)


@dg.sensor(
    job=INGEST_BATCH,
    # The daemon looks at its sensors every five seconds, sometimes a bit earlier: with 5, every second look would be lost.
    minimum_interval_seconds=2,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Detects new and changed batch folders, and starts `ingest_batch`.",
)
def raw_report_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    instance = kept_instance(context)
    found = report_batches(instance, Installation())
    if isinstance(found, dg.SkipReason):
        return found
    assert context.repository_def is not None
    reported = [event for event in found.asset_events if isinstance(event, dg.AssetMaterialization)]
    batches = [event.partition for event in reported if event.partition is not None]
    return dg.SensorResult(
        run_requests=plan_ingest(context.repository_def.asset_graph, instance, batches),
        dynamic_partitions_requests=found.dynamic_partitions_requests,
        asset_events=found.asset_events,
    )


def report_batches(instance: dg.DagsterInstance, installation: Installation) -> dg.SensorResult | dg.SkipReason:
    """Report each folder whose content differs from the last reported version.

    That version is read from Dagster's events, not from a cursor, so that losing a cursor neither repeats nor skips a report.
    """
    root = installation.layout.raw_reports
    try:
        versions = {batch: fingerprint_batch(root / batch, _HASH_CACHE) for batch in list_batches(root)}
        stray = find_stray_entries(root)
    except (FineTuneError, OSError) as error:
        return dg.SkipReason(f"The folder of raw reports can't be read: {type(error).__name__}.")
    known = batch_versions(instance, asset_key("raw_reports"))
    changed = [batch for batch, version in versions.items() if known.get(batch) != version]
    # Hash changed batches again without the cache: a wrong cached hash would be reported, then corrected by the step, endlessly.
    versions |= {batch: fingerprint_batch(root / batch) for batch in changed}
    changed = [batch for batch in changed if known.get(batch) != versions[batch]]
    shown = describe_missing(sorted(known.keys() - versions.keys()))
    checks = report_changed_check(instance, MISSING_CHECK, MISSING_METRIC, shown, asset=CHECKED_ASSET)
    if not changed and not checks:
        return dg.SkipReason(f"No batch folder is new or changed.{describe_ignored(stray)}")
    new = sorted(set(changed) - set(instance.get_dynamic_partitions(str(BATCHES.name))))
    return dg.SensorResult(
        dynamic_partitions_requests=[BATCHES.build_add_request(new[:MAX_NEW_PARTITIONS])] if new else [],
        asset_events=[
            *(
                batch_event(asset_key("raw_reports"), batch, versions[batch])
                for batch in changed
                if batch not in new[MAX_NEW_PARTITIONS:]
            ),
            *checks,
        ],
    )


@dg.asset_check(
    asset=CHECKED_ASSET,
    name=MISSING_CHECK,
    description="Every batch that was read still has its folder. A removed folder changes no table: data is removed only by an "
    "erasure, which is recorded.",
)
def batch_folders_are_present(
    context: dg.AssetCheckExecutionContext, installation: Installation
) -> dg.AssetCheckResult:
    known = batch_versions(context.instance, asset_key("raw_reports"))
    shown = describe_missing(sorted(known.keys() - set(list_batches(installation.layout.raw_reports))))
    return warning_result(not shown[MISSING_METRIC], **shown)


def describe_missing(batches: Sequence[str]) -> dict[str, int | str]:
    """Metadata of the check. Names of batches are not identifying."""
    if not batches:
        return {MISSING_METRIC: 0}
    names = ", ".join(batches[:MAX_NAMES_SHOWN]) + (" and more" if len(batches) > MAX_NAMES_SHOWN else "")
    reason = (
        f"Removed from data/raw_reports: {names}. Their reports stay in the tables. Restore the folders; to remove a "
        "subject's data, run `fine-tune subjects erase KEY --reason REASON`."
    )
    return {MISSING_METRIC: len(batches), REASON: reason}


def describe_ignored(stray: StrayEntries) -> str:
    """Sentences about entries of `data/raw_reports` that are not batches; empty if there are none."""
    text = ""
    if stray.folders:
        shown, more = stray.folders[:MAX_NAMES_SHOWN], len(stray.folders) - MAX_NAMES_SHOWN
        names = ", ".join(repr(name) for name in shown) + (f" and {more} more" if more > 0 else "")
        text += f" Ignored folders (incomplete, symbolic links or invalid names): {names}."
    if stray.files:
        text += f" Ignored files outside batch folders: {stray.files}. Move them into a batch folder."
    return text
