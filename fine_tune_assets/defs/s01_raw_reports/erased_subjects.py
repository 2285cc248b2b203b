"""Stage 1: erased subjects.

The ledger's tombstones as an external asset per batch, the gate that refuses instruction sets with erased subjects, and two
checks on the completeness of erasures. `lineage/` removes the data.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import combine, fingerprint_listing
from fine_tune_assets.defs.platform.automation import batch_event, batch_versions
from fine_tune_assets.defs.platform.catalogue import StoredAsset
from fine_tune_assets.defs.platform.metadata import OWNERS, REASON, warning_result
from fine_tune_assets.defs.platform.production_checks import report_changed_check
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES, ERASED_SUBJECTS, GROUP
from fine_tune_assets.ledger.reviews.erasures import list_erasures, list_release_marks
from fine_tune_assets.ledger.serving.deployments import find_live_deployment
from fine_tune_assets.lineage.subject_rows import count_subject_rows, find_batches_with_subjects
from fine_tune_assets.reports.unreadable_files import UnreadableReason

_LEFTOVER_MARK = "+"
"""Separates, in the version of a batch, its erasures from the state of a table that still has rows of erased subjects."""
PRODUCTION_CHECK = "production_model_excludes_erased_subjects"

erased_subjects = dg.AssetSpec(
    ERASED_SUBJECTS,
    partitions_def=BATCHES,
    group_name=GROUP,
    description="The erased subjects of each batch. The batch is read again without them.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
    tags={"phi": "yes"},
)


def require_no_erased_subjects(installation: Installation, instruction_set: pa.Table) -> None:
    """Raise GateClosedError if the set has examples of erased subjects. Reads the ledger each time."""
    erased = pa.array(sorted(installation.erased_subjects()), pa.string())
    count = pc.sum(pc.is_in(instruction_set["subject_key"], value_set=erased)).as_py() or 0
    if count:
        raise GateClosedError(
            f"{count} examples of the instruction set belong to erased subjects, so it can't be used for training, judging, "
            "merging or releases. Finish the erasure: run `fine-tune subjects erase KEY --reason REASON` again. "
            + materialize_hint()
        )


def report_erasures(instance: dg.DagsterInstance, installation: Installation) -> list[dg.AssetMaterialization]:
    """An event for each batch with new or lifted erasures, or with rows of erased subjects left in its table.

    Rows can be left by a run that read the batch before the tombstone was set and stored it afterwards. The rows themselves
    are checked at every tick until they are removed.
    """
    with installation.ledger() as ledger:
        erasures = list_erasures(ledger)
    known = batch_versions(instance, ERASED_SUBJECTS)
    if not erasures and not known:
        return []
    erasures_by_batch: dict[str, list[str]] = {}
    for erasure in erasures:
        for batch in erasure.ids.batches:
            erasures_by_batch.setdefault(batch, []).append(erasure.erasure_id)
    for batch in batches_with_refusals(installation):
        # The refused subjects are not recorded, so every tombstone concerns this batch.
        erasures_by_batch[batch] = [erasure.erasure_id for erasure in erasures]
    leftovers = _find_leftovers(installation.stored("reports").folder, frozenset(e.subject_key for e in erasures))
    events = []
    batches = {*erasures_by_batch, *known, *leftovers} & set(instance.get_dynamic_partitions(str(BATCHES.name)))
    for batch in sorted(batches):
        base = combine(erasures_by_batch.get(batch, []))
        version = f"{base}{_LEFTOVER_MARK}{leftovers[batch]}" if batch in leftovers else base
        reported = known.get(batch, "")
        # The removal of the last leftover rows needs no new reading, so only the base is compared then.
        if (reported if batch in leftovers else reported.partition(_LEFTOVER_MARK)[0]) != version:
            events.append(batch_event(ERASED_SUBJECTS, batch, version))
    return events


def batches_with_refusals(installation: Installation) -> frozenset[str]:
    """Batches with a raw file that still contains a report of an erased subject, which the reader refused."""
    unreadable = installation.stored("unreadable_reports")
    folder = unreadable.folder
    return _cached_refusals(unreadable, fingerprint_listing(folder)) if folder.is_dir() else frozenset()


@lru_cache(maxsize=1)
def _cached_refusals(unreadable: StoredAsset, _listed: str) -> frozenset[str]:
    refused = unreadable.find("reason", [UnreadableReason.ERASED_SUBJECT.value], ("batch",))
    return frozenset(row["batch"] for row in refused)


def _find_leftovers(reports: Path, subjects: frozenset[str]) -> dict[str, str]:
    """Batch → fingerprint of its table, for tables that still have rows of these subjects."""
    if not subjects or not reports.is_dir():
        return {}
    return _cached_leftovers(reports, fingerprint_listing(reports), subjects)


@lru_cache(maxsize=1)
def _cached_leftovers(reports: Path, _listed: str, subjects: frozenset[str]) -> dict[str, str]:
    """Cached until a table of reports or the erased subjects change, since every sensor tick needs it."""
    return {
        batch: fingerprint_listing(reports / f"{batch}.parquet")
        for batch in find_batches_with_subjects(reports, subjects)
    }


# On the last table of the chain, not on every batch of the first one, since it reads every file.
@dg.asset_check(
    asset="instruction_sets",
    description="Every erasure is finished, and no table has rows of erased subjects.",
)
def erasures_are_complete(installation: Installation) -> dg.AssetCheckResult:
    with installation.ledger() as ledger:
        erasures = list_erasures(ledger)
    rows = count_subject_rows(installation.layout.tables, [e.subject_key for e in erasures])
    unfinished = sum(not e.is_finished for e in erasures)
    by_table = dg.MetadataValue.json(rows)
    return warning_result(not rows and not unfinished, rows_by_table=by_table, unfinished_erasures=unfinished)


@dg.asset_check(
    asset="served_models",
    name=PRODUCTION_CHECK,
    description="The production model was not trained on any subject that has since been erased.",
)
def production_model_excludes_erased_subjects(installation: Installation) -> dg.AssetCheckResult:
    count = count_erased_in_production(installation)
    return warning_result(not count, **_check_metadata(count or 0))


def count_erased_in_production(installation: Installation) -> int | None:
    """Number of erased subjects that the production model was trained on; None without a production model."""
    with installation.ledger() as ledger:
        live = find_live_deployment(ledger)
        return None if live is None else sum(mark.is_trained_on for mark in list_release_marks(ledger, live.release_id))


def report_production_erasures(
    instance: dg.DagsterInstance, installation: Installation
) -> list[dg.AssetCheckEvaluation]:
    """The check's result if the count changed: an erasure does not trigger `served_models`."""
    count = count_erased_in_production(installation)
    return (
        []
        if count is None
        else report_changed_check(instance, PRODUCTION_CHECK, "erased_subjects", _check_metadata(count))
    )


def _check_metadata(count: int) -> dict[str, Any]:
    if not count:
        return {"erased_subjects": 0}
    reason = f"The production model was trained on {count} erased subjects. {materialize_hint('adapters')}"
    return {"erased_subjects": count, REASON: reason}
