"""Erasing a patient from this installation: where `lineage`, `reports`, `phi`, the ledger and Dagster's runs meet.

Owns the order. The tombstone comes first, so that nothing new flows in; then no run may be at work that began before it; then
everything is removed, step by step. Each step can be repeated: after a kill the same call finishes the job. Must stay out: how
each part is removed.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.defs.local_run import fail_abandoned_runs
from fine_tune_assets.defs.platform.candidate import AT_WORK
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.erased_patients import batches_with_refusals
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import (
    Erasure,
    PatientIds,
    add_ids,
    find_erasure,
    lift_erasure,
    record_erasure,
)
from fine_tune_assets.lineage.copies import ReportCopy
from fine_tune_assets.lineage.erasure import (
    SPAN_CACHE,
    Step,
    erasing_steps,
    find_patient,
    finish,
    releases_with_copy,
    releases_with_patient,
    words_that_stay,
)
from fine_tune_assets.lineage.instruction_sets import lift_from_sets
from fine_tune_assets.phi.span_cache import clear_span_caches
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.patient_files import PatientFiles, files_of_batches

Tell = Callable[[str], None]
"""Told the name of each step before it begins."""


class ErasureError(FineTuneError):
    """A patient can't be erased now, or not wholly."""


@dataclass(frozen=True)
class Outlook:
    """What an erasure would do."""

    ids: PatientIds
    files: PatientFiles
    faults: tuple[str, ...]
    """Batches whose raw files can't be looked through, in words."""
    releases: Mapping[str, str]
    """Release → the split in which it saw the patient."""
    copies: tuple[ReportCopy, ...]
    """Reports of others with the same words. They stay."""
    releases_by_copy: Mapping[str, str]
    """Release → the split in which it saw the patient's words under another patient's key."""


@dataclass(frozen=True)
class Erased:
    erasure: Erasure
    files: PatientFiles
    """`own` were removed; the others are for people."""
    copies: tuple[ReportCopy, ...]
    """Reports of others with the same words. They stayed."""


def look_ahead(installation: Installation, ledger: Ledger, patient_key: str) -> Outlook:
    """Changes nothing. Raises ErasureError if nothing here is of this patient and no erasure of it stands."""
    ids, standing = find_patient(installation.layout, patient_key), find_erasure(ledger, patient_key)
    if ids == PatientIds() and standing is None:
        raise ErasureError(
            "Nothing here is of a patient with this key. Make the key from the id: `fine-tune trace patient-key`. If their "
            "batch was not read yet: " + materialize_hint("reports")
        )
    if any(report_id.startswith("correction/") for report_id in ids.report_ids):
        raise ErasureError(
            "This is the key of a correction: nobody says which patient it is about. Reject its draft instead."
        )
    batches = ids.batches | (standing.ids.batches if standing else frozenset())
    files, faults = _raw_files(installation, patient_key, batches)
    layout = installation.layout
    return Outlook(
        ids,
        files,
        tuple(faults),
        releases_with_patient(layout, ledger, patient_key),
        tuple(words_that_stay(layout, patient_key)),
        releases_with_copy(layout, ledger, patient_key),
    )


def erase_patient(
    instance: dg.DagsterInstance,
    installation: Installation,
    ledger: Ledger,
    *,
    patient_key: str,
    by: str,
    reason: str,
    tell: Tell,
) -> Erased:
    """Erase, or go on where an erasure was cut off. Raises ErasureError; the tombstone stands all the same."""
    outlook = look_ahead(installation, ledger, patient_key)
    tell("set the tombstone")
    erasure = record_erasure(
        ledger,
        patient_key=patient_key,
        by=by,
        reason=reason,
        ids=outlook.ids,
        seen_by_copy=outlook.releases_by_copy,
    )
    _require_no_run_at_work(instance)
    # Once more: a run that has ended since may have stored what was not there at the first look.
    erasure = add_ids(ledger, erasure, find_patient(installation.layout, patient_key))
    files, faults = _raw_files(installation, patient_key, erasure.ids.batches)
    removed: Counter[str] = Counter()
    for name, step in _steps(instance, installation, ledger, erasure, files):
        tell(name)
        removed.update(step())
    if faults:
        raise ErasureError(f"{' '.join(faults)} The tombstone stands, and everything else was removed. Erase again.")
    tell("finish")
    return Erased(finish(ledger, erasure, by, removed), files, outlook.copies)


def lift(installation: Installation, ledger: Ledger, *, patient_key: str, by: str, reason: str) -> None:
    """Let the patient in again, from the next reading of its batches on. Raises UnknownRecordError."""
    lifted = lift_erasure(ledger, patient_key=patient_key, by=by, reason=reason)
    lift_from_sets(installation.layout.instruction_sets, lifted.erasure_id)


def _steps(
    instance: dg.DagsterInstance, installation: Installation, ledger: Ledger, erasure: Erasure, files: PatientFiles
) -> list[Step]:
    return [
        *erasing_steps(installation.layout, ledger, erasure),
        ("remove raw files", lambda: _counted("raw files", _unlink(files.own))),
        (
            "forget what the scrubber found",
            lambda: _counted(
                "texts in the scrubber's cache", clear_span_caches(installation.layout.cache / SPAN_CACHE)
            ),
        ),
        ("remove scratch", lambda: _counted("scratch folders", installation.remove_left_scratch(instance))),
    ]


def _raw_files(installation: Installation, patient_key: str, batches: frozenset[str]) -> tuple[PatientFiles, list[str]]:
    """Of the batches in which the patient was found, and of those in which somebody erased was refused meanwhile."""
    wanted = batches | batches_with_refusals(installation)
    folders = [installation.layout.raw_reports / batch for batch in sorted(wanted)]
    there = [folder for folder in folders if folder.is_dir()]
    return files_of_batches(there, installation.patient_secret, patient_key, ReadLimits())


def _require_no_run_at_work(instance: dg.DagsterInstance) -> None:
    fail_abandoned_runs(instance)
    runs = instance.get_runs(dg.RunsFilter(statuses=AT_WORK))
    if runs:
        raise ErasureError(
            f"{len(runs)} runs are at work, and may store what they read before. The tombstone stands: nothing new of the "
            "patient is read. Run the same command again when they have ended; it removes everything then. Runs that "
            "were cut off: `fine-tune up dagster-daemon` ends them."
        )


def _unlink(paths: tuple[Path, ...]) -> int:
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


def _counted(name: str, count: int) -> dict[str, int]:
    return {name: count} if count else {}
