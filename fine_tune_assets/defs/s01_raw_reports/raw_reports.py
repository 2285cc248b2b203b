"""Stage 1: from batch folders to readable reports.

Belongs here: the batches that people drop, and reading one batch. Must stay out: changing a report's text.
"""

import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, fields

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import RememberedHashes, fingerprint_table, short
from fine_tune_assets.defs.platform.automation import batch_event, batch_versions, on_new_batches
from fine_tune_assets.defs.platform.metadata import OWNERS, checked, result, stored_metadata, table_outs, warned
from fine_tune_assets.defs.platform.resources import Installation, errors_for_people
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import Accounting, ChangedBatchError, count_by_reason, read_version
from fine_tune_assets.reports.batches import NotBatches, fingerprint_batch, list_batches, list_not_batches
from fine_tune_assets.reports.rules_version import reader_version
from fine_tune_assets.reports.unreadable_files import Reason

GROUP = "s01_raw_reports"
BATCHES = dg.DynamicPartitionsDefinition(name="report_batches")
ADDED_AT_ONCE = 500
"""SQLite refuses very many keys in one call (dagster issue 16260)."""
READ_AGAIN = 3
"""Times that one run reads a batch again that changed meanwhile, before it fails and leaves it to the next run."""
PAUSE_SECONDS = 1
NAMES_SHOWN = 5
ERASED_PATIENTS = dg.AssetKey("erased_patients")
_HASHES = RememberedHashes(most=100_000, now_ns=time.time_ns)
"""The sensor's own: what a step stores is always compared with the bytes that it read."""

raw_reports = dg.AssetSpec(
    "raw_reports",
    partitions_def=BATCHES,
    group_name=GROUP,
    description="The batch folders in `data/raw_reports`, as people dropped them. One partition is one folder.",
    owners=OWNERS["data"],
    kinds={"file"},
    tags={"phi": "yes"},
)


@dg.multi_asset(
    outs=table_outs(
        {
            "reports": "Every report that could be read, with the identifiers that its own metadata states.",
            "unreadable_reports": "Every file and record that could not be read, with the reason and what to do. Nothing is "
            "lost.",
        },
        group=GROUP,
        owners=OWNERS["data"],
        condition=on_new_batches(optional=dg.AssetSelection.assets(ERASED_PATIENTS)),
        code_version=short(reader_version()),
        with_identifiers=("reports",),
    ),
    deps=[raw_reports, ERASED_PATIENTS],
    partitions_def=BATCHES,
    name="read_reports",
)
def read_reports(
    context: dg.AssetExecutionContext, installation: Installation
) -> Iterator[dg.MaterializeResult[pa.Table]]:
    batch = context.partition_key
    folder = installation.layout.raw_reports / batch
    # Dagster records this version as the one that the tables were made from. Anything else must not be stored under it: once
    # the folder is back at this version nothing would differ any more, and the wrong table would stay for ever.
    version = batch_versions(context.instance, raw_reports.key, [batch]).get(batch)
    with errors_for_people():
        # Asked before a byte is read: who is erased meanwhile makes the batch be read again.
        erased = installation.erased_patients()
        try:
            reading = read_version(folder, batch, installation.patient_secret, ReadLimits(), version, erased)
        except ChangedBatchError:
            # The step reports what is there now, as the sensor does: the sensor itself stays silent if that is the version
            # of before. The next try then reads it, or, after the last one, the next run: an event that is newer than a
            # failed run makes it start again by itself, however long the folder keeps changing.
            context.instance.report_runless_asset_event(batch_event(raw_reports.key, batch, fingerprint_batch(folder)))
            if context.retry_number < READ_AGAIN:
                raise dg.RetryRequested(max_retries=READ_AGAIN, seconds_to_wait=PAUSE_SECONDS) from None
            raise
    refused = pc.sum(pc.equal(reading.unreadable["reason"], Reason.ERASED_PATIENT.value)).as_py() or 0
    counts = {
        **asdict(reading.accounting),
        "of_erased_patients": refused,
        "read": reading.reports.num_rows,
        "unreadable": reading.unreadable.num_rows,
        "ignored_by_reason": dg.MetadataValue.json(count_by_reason(reading.ignored)),
    }
    yield result("reports", reading.reports, fingerprint_table(reading.reports), **counts)
    yield result("unreadable_reports", reading.unreadable, fingerprint_table(reading.unreadable), **counts)


# Partitioned like its asset, else a later good batch takes the place of a bad one's result, and of several runs at once each
# may judge the batch of another. Dagster calls that a preview; 1.13.27 keeps and shows the partition of each result.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.PreviewWarning)

    @dg.asset_check(
        asset="reports", partitions_def=BATCHES, description="The batch holds at least one report that could be read."
    )
    def batch_has_readable_reports(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        batch = context.partition_key
        said = stored_metadata(context.instance, "reports", batch)
        counts = {name: said.get(name) for name in ("read", "unreadable", "files")}
        return warned(said["read"] > 0, **counts, batch=batch)

    @dg.asset_check(
        asset="reports",
        partitions_def=BATCHES,
        blocking=True,
        description="Every file of the batch, and every entry of its archives, was read, quarantined, or ignored for a reason.",
    )
    def every_file_is_accounted_for(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        batch = context.partition_key
        said = stored_metadata(context.instance, "reports", batch)
        counts = {field.name: said[field.name] for field in fields(Accounting) if field.name in said}
        passed = len(counts) == len(fields(Accounting)) and Accounting(**counts).is_balanced
        why = "A file of the batch was neither read, nor quarantined, nor ignored. Read it again."
        return checked(passed, None if passed else why, **counts, batch=batch)


@dg.sensor(
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notices new and changed batch folders, by their content.",
)
def raw_reports_changed(
    context: dg.SensorEvaluationContext, installation: Installation
) -> dg.SensorResult | dg.SkipReason:
    return report_batches(context.instance, installation)


def report_batches(instance: dg.DagsterInstance, installation: Installation) -> dg.SensorResult | dg.SkipReason:
    """Report each folder whose content is not the one last reported.

    The last reported version is read from Dagster itself, not from a cursor: after a lost cursor nothing is reported twice
    and nothing is missed.
    """
    root = installation.layout.raw_reports
    try:
        versions = {batch: fingerprint_batch(root / batch, _HASHES) for batch in list_batches(root)}
        beside = list_not_batches(root)
    except (FineTuneError, OSError) as error:
        return dg.SkipReason(f"The folder of raw reports can't be read now: {type(error).__name__}.")
    known = batch_versions(instance, raw_reports.key)
    changed = [batch for batch, version in versions.items() if known.get(batch) != version]
    # What is reported was read now: a remembered hash that is wrong would be reported and put right by the step for ever.
    versions |= {batch: fingerprint_batch(root / batch) for batch in changed}
    changed = [batch for batch in changed if known.get(batch) != versions[batch]]
    if not changed:
        return dg.SkipReason(f"No batch folder is new or changed.{not_read(beside)}")
    new = sorted(set(changed) - set(instance.get_dynamic_partitions(str(BATCHES.name))))
    return dg.SensorResult(
        dynamic_partitions_requests=[BATCHES.build_add_request(new[:ADDED_AT_ONCE])] if new else [],
        asset_events=[
            batch_event(raw_reports.key, batch, versions[batch])
            for batch in changed
            if batch not in new[ADDED_AT_ONCE:]
        ],
    )


def not_read(beside: NotBatches) -> str:
    """What lies beside the batch folders, in words; empty if there is nothing."""
    said = ""
    if beside.folders:
        shown, more = beside.folders[:NAMES_SHOWN], len(beside.folders) - NAMES_SHOWN
        names = ", ".join(repr(name) for name in shown) + (f" and {more} more" if more > 0 else "")
        said += f" Folders that are not read, unfinished, linked or with a name that can't be used: {names}."
    if beside.files:
        said += f" Files beside the folders, which are not read: {beside.files}. Put them into a batch folder."
    return said
