"""Removing a patient from tables, instruction sets, trainings and caches, and marking the releases that saw them.

Owns the steps on this machine's data folder and their order; each can be repeated, and a run that was killed is finished by the
same call. Raw files are `reports`', and whether a run is going on is Dagster's to say: the command line joins them.
"""

import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import (
    Erasure,
    PatientIds,
    finish_erasure,
    forget_patient,
    mark_releases,
    overwrite_deleted_rows,
)
from fine_tune_assets.ledger.serving.releases import list_releases
from fine_tune_assets.lineage.copies import ReportCopy, copied_reports
from fine_tune_assets.lineage.instruction_sets import erase_from_sets, forget_left_out, ids_in_sets, set_folders
from fine_tune_assets.lineage.patient_rows import PATIENT, PatientRows, find_ids, names_anybody, remove_rows
from fine_tune_assets.lineage.records import USE_OF_SPLIT
from fine_tune_assets.lineage.trace_steps import TableRows
from fine_tune_assets.lineage.traces import UnknownIdError, trace_patient
from fine_tune_assets.lineage.trainings import forget_examples

Step = tuple[str, Callable[[], Mapping[str, int]]]
"""Name of a step, and what it removes by kind."""
SPAN_CACHE = "scrubbed"
"""Holds offsets under keyed hashes of texts; `phi` empties it itself, since a scrubber may have it open."""


def find_patient(layout: Layout, patient_key: str) -> PatientIds:
    """What there is of a patient in tables and instruction sets."""
    return find_ids(layout.tables, patient_key).and_those(ids_in_sets(layout.instruction_sets, patient_key))


def releases_with_patient(layout: Layout, ledger: Ledger, patient_key: str) -> dict[str, str]:
    """Release → the split in which it saw the patient, as far as the sets still say it."""
    splits = {
        short(stored.fingerprint): rows[0]["split"]
        for stored in set_folders(layout.instruction_sets)
        if (rows := stored.rows(PATIENT, patient_key))
    }
    return {
        release.release_id: splits[short(release.instruction_set_fingerprint)]
        for release in list_releases(ledger)
        if short(release.instruction_set_fingerprint) in splits
    }


def words_that_stay(layout: Layout, patient_key: str) -> list[ReportCopy]:
    """Reports of other patients that say the same as one of the patient's: they are theirs, and stay."""
    tables = TableRows(layout.tables)
    return copied_reports(tables, tables.values("reports", "patient_key", patient_key, "report_id"))


def releases_with_copy(layout: Layout, ledger: Ledger, patient_key: str) -> dict[str, str]:
    """Release → the split in which it saw the patient's words under another patient's key."""
    try:
        copies = trace_patient(layout, ledger, patient_key).copies
    except UnknownIdError:
        return {}
    trainings = [training for copy in copies for training in copy.example.trainings]
    # What it learned from counts more than what it was measured on.
    order = list(USE_OF_SPLIT)
    trainings.sort(key=lambda training: order.index(training.split), reverse=True)
    return {made.release_id: training.split for training in trainings for made in training.releases}


def erasing_steps(layout: Layout, ledger: Ledger, erasure: Erasure) -> list[Step]:
    """Everything but raw files, in its order. Releases are marked while the sets still say who was in them."""
    rows = PatientRows(erasure.patient_key, erasure.ids)

    def mark() -> Mapping[str, int]:
        found = releases_with_patient(layout, ledger, erasure.patient_key)
        mark_releases(ledger, erasure.patient_key, found)
        return {}

    def sets() -> Mapping[str, int]:
        return erase_from_sets(layout.instruction_sets, rows, erasure.erasure_id, datetime.now(UTC))

    def trainings() -> Mapping[str, int]:
        return _counted("records of trainings", forget_examples(layout.adapters, erasure.ids.example_ids))

    def left_out() -> Mapping[str, int]:
        found = forget_left_out(layout.instruction_sets, erasure.ids.example_ids)
        return _counted("examples that sets left out", found)

    return [
        ("mark the releases", mark),
        ("remove from instruction sets", sets),
        ("remove from what sets left out", left_out),
        ("remove from tables", lambda: remove_rows(layout.tables, rows)),
        ("remove from records of trainings", trainings),
        ("remove from caches", lambda: _counted("cached files", _clear_caches(layout.cache, rows))),
        (
            "remove unfinished files",
            lambda: _counted("unfinished files", _remove_unfinished(layout, erasure.erased_at)),
        ),
        ("remove from the ledger", lambda: forget_patient(ledger, erasure)),
    ]


def finish(ledger: Ledger, erasure: Erasure, by: str, removed: Mapping[str, int]) -> Erasure:
    """Close the erasure: its ids are forgotten, and so is what the database kept of deleted rows."""
    finished = finish_erasure(ledger, erasure, by, removed)
    overwrite_deleted_rows(ledger)
    return finished


def _clear_caches(cache: Path, rows: PatientRows) -> int:
    """Files that were changed or removed. A cache whose rows name reports loses the rows; of any other kind nobody can say
    what is in it, and it can be made again."""
    changed = len(remove_rows(cache, rows))
    for path in sorted(cache.rglob("*")) if cache.is_dir() else ():
        if path.is_file() and not names_anybody(path) and SPAN_CACHE not in path.relative_to(cache).parts:
            path.unlink(missing_ok=True)
            changed += 1
    return changed


def _remove_unfinished(layout: Layout, before: datetime) -> int:
    """What a killed run left under a temporary name. Younger than the tombstone: it is being written, without the patient."""
    count = 0
    for root in (layout.tables, layout.instruction_sets, layout.cache):
        for path in sorted(root.rglob(".*.tmp")) if root.is_dir() else ():
            if path.exists() and path.stat().st_mtime < before.timestamp():
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                count += 1
    return count


def _counted(name: str, count: int) -> dict[str, int]:
    return {name: count} if count else {}
