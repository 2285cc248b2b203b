"""Stage 1, who must not come in: patients who were erased.

Owns the tombstones in the ledger as an external asset, batch by batch; the gate that refuses what still holds an erased patient;
and the two checks that show what an erasure left to do. Must stay out: how a patient is removed (see `lineage/`).
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
from fine_tune_assets.defs.platform.live_checks import news_of_check
from fine_tune_assets.defs.platform.metadata import OWNERS, WHY, warned
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES, ERASED_PATIENTS, GROUP
from fine_tune_assets.ledger.reviews.erasures import erased_in, list_erasures
from fine_tune_assets.ledger.serving.deployments import live_deployment
from fine_tune_assets.lineage.patient_rows import batches_with, count_rows
from fine_tune_assets.reports.unreadable_files import Reason

_LEFT = "+"
"""In the version of a batch: before it the erasures that concern it, after it the state of a table that still holds rows."""
LIVE_CHECK = "live_release_learned_from_nobody_erased"

erased_patients = dg.AssetSpec(
    ERASED_PATIENTS,
    partitions_def=BATCHES,
    group_name=GROUP,
    description="For each batch, which of its patients were erased. It is read again without them. Absent where there is none.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
    tags={"phi": "yes"},
)


def require_nobody_erased(installation: Installation, instruction_set: pa.Table) -> None:
    """Raise GateClosedError if the set holds a patient who was erased. Read from the ledger at the last moment."""
    erased = pa.array(sorted(installation.erased_patients()), pa.string())
    held = pc.sum(pc.is_in(instruction_set["patient_key"], value_set=erased)).as_py() or 0
    if held:
        raise GateClosedError(
            f"{held} examples of the instruction set are of patients who were erased. Nothing is trained, judged, merged or "
            "released on it. Finish the erasure: run `fine-tune erase PATIENT_KEY --by NAME --reason WHY` again. "
            + materialize_hint()
        )


def batches_to_read_again(instance: dg.DagsterInstance, installation: Installation) -> list[dg.AssetMaterialization]:
    """An event for each batch whose erasures are not those last reported, or whose table still holds an erased patient.

    The second is for a run that read before a tombstone stood and stored after it: whatever it stored, the rows themselves are
    looked at, until they are gone.
    """
    with installation.ledger() as ledger:
        erasures = list_erasures(ledger)
    known = batch_versions(instance, ERASED_PATIENTS)
    if not erasures and not known:
        return []
    of_batch: dict[str, list[str]] = {}
    for erasure in erasures:
        for batch in erasure.ids.batches:
            of_batch.setdefault(batch, []).append(erasure.erasure_id)
    for batch in batches_with_refusals(installation):
        # Nobody notes who was refused: if any tombstone comes or goes, it is looked at again.
        of_batch[batch] = [erasure.erasure_id for erasure in erasures]
    left = _left(installation.stored("reports").folder, frozenset(e.patient_key for e in erasures))
    events = []
    for batch in sorted({*of_batch, *known, *left} & set(instance.get_dynamic_partitions(str(BATCHES.name)))):
        concerning = combine(of_batch.get(batch, []))
        version = f"{concerning}{_LEFT}{left[batch]}" if batch in left else concerning
        reported = known.get(batch, "")
        # Once the rows are gone there is nothing new to read: the part before says so.
        if (reported if batch in left else reported.partition(_LEFT)[0]) != version:
            events.append(batch_event(ERASED_PATIENTS, batch, version))
    return events


def batches_with_refusals(installation: Installation) -> frozenset[str]:
    """Batches in which a report of somebody erased still lies in a raw file, and was refused."""
    unreadable = installation.stored("unreadable_reports")
    folder = unreadable.folder
    return _refusals_in(unreadable, fingerprint_listing(folder)) if folder.is_dir() else frozenset()


@lru_cache(maxsize=1)
def _refusals_in(unreadable: StoredAsset, _listed: str) -> frozenset[str]:
    refused = unreadable.find("reason", [Reason.ERASED_PATIENT.value], ("batch",))
    return frozenset(row["batch"] for row in refused)


def _left(reports: Path, patients: frozenset[str]) -> dict[str, str]:
    """Batch → the state of its table, where that still holds one of the patients."""
    if not patients or not reports.is_dir():
        return {}
    return _left_in(reports, fingerprint_listing(reports), patients)


@lru_cache(maxsize=1)
def _left_in(reports: Path, _listed: str, patients: frozenset[str]) -> dict[str, str]:
    """Remembered until a table of reports or the erased patients change: it is asked for at every tick."""
    return {batch: fingerprint_listing(reports / f"{batch}.parquet") for batch in batches_with(reports, patients)}


# Of the last table of the chain, and not of each batch of the first: it looks into every file.
@dg.asset_check(
    asset="instruction_sets",
    description="Of patients who were erased no row is left in any table, and every erasure was finished.",
)
def nothing_is_left_of_erased_patients(installation: Installation) -> dg.AssetCheckResult:
    with installation.ledger() as ledger:
        erasures = list_erasures(ledger)
    left = count_rows(installation.layout.tables, [e.patient_key for e in erasures])
    unfinished = sum(not e.is_finished for e in erasures)
    shown = dg.MetadataValue.json(left)
    return warned(not left and not unfinished, rows_by_table=shown, unfinished_erasures=unfinished)


@dg.asset_check(
    asset="served_models",
    name=LIVE_CHECK,
    description="The release that answers users learned from nobody who was erased later.",
)
def live_release_learned_from_nobody_erased(installation: Installation) -> dg.AssetCheckResult:
    count = erased_patients_of_live_release(installation)
    return warned(not count, **_told(count or 0))


def erased_patients_of_live_release(installation: Installation) -> int | None:
    """How many erased patients the live release learned from; None while none is live."""
    with installation.ledger() as ledger:
        live = live_deployment(ledger)
        return None if live is None else sum(mark.is_learned_from for mark in erased_in(ledger, live.release_id))


def news_of_live_release(instance: dg.DagsterInstance, installation: Installation) -> list[dg.AssetCheckEvaluation]:
    """The check's result once the count is another one than it last said: an erasure makes nothing of `served_models` anew."""
    count = erased_patients_of_live_release(installation)
    return [] if count is None else news_of_check(instance, LIVE_CHECK, "erased_patients", _told(count))


def _told(count: int) -> dict[str, Any]:
    why = {WHY: f"The live release learned from {count} erased patients: train again."} if count else {}
    return {"erased_patients": count, **why}
