"""Erases a subject from this installation, across `lineage`, `reports`, `phi`, the ledger and Dagster's runs.

The order matters: the tombstone is set first, so that no new data is read; then no run that started before it may be active;
then the data is removed step by step. Every step can be repeated, so that the same call completes an interrupted erasure.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.defs.local_run import fail_abandoned_runs
from fine_tune_assets.defs.platform.candidate import ACTIVE_STATUSES
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.erased_subjects import batches_with_refusals
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import (
    Erasure,
    SubjectIds,
    add_erasure_ids,
    find_erasure,
    lift_erasure,
    record_erasure,
)
from fine_tune_assets.lineage.copies import ReportCopy
from fine_tune_assets.lineage.erasure import (
    SPAN_CACHE,
    ErasureStep,
    build_erasure_steps,
    complete_erasure,
    find_releases_with_copies,
    find_releases_with_subject,
    find_remaining_copies,
    find_subject_ids,
)
from fine_tune_assets.lineage.set_history import remove_tombstones
from fine_tune_assets.phi.span_cache import clear_span_caches
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.subject_files import SubjectFiles, find_files_in_batches

StepCallback = Callable[[str], None]
"""Called with the name of each step before it begins."""


class ErasureError(FineTuneError):
    """A subject can't be erased, or not completely."""


@dataclass(frozen=True)
class ErasurePreview:
    """The effects that an erasure would have."""

    ids: SubjectIds
    files: SubjectFiles
    faults: tuple[str, ...]
    """Messages about batches whose raw files can't be searched."""
    releases: Mapping[str, str]
    """Release → the split of its instruction set that contains the subject."""
    copies: tuple[ReportCopy, ...]
    """Reports of other subjects with the same text. They remain."""
    releases_by_copy: Mapping[str, str]
    """Release → the split of its instruction set that contains the subject's text under another subject's key."""
    is_known: bool
    """Whether there is data of this subject, or an erasure of it."""


@dataclass(frozen=True)
class ErasureResult:
    erasure: Erasure
    files: SubjectFiles
    """`exclusive` files were removed; the others must be edited by hand."""
    copies: tuple[ReportCopy, ...]
    """Reports of other subjects with the same text. They remain."""


def preview_erasure(installation: Installation, ledger: Ledger, subject_key: str) -> ErasurePreview:
    """Find what an erasure would remove, without changing anything. Raises ErasureError for the key of a correction."""
    ids, erasure = find_subject_ids(installation.layout, subject_key), find_erasure(ledger, subject_key)
    if any(report_id.startswith("correction/") for report_id in ids.report_ids):
        raise ErasureError(
            f"{subject_key} is the key of a correction, whose subject is unknown. Reject its draft on the desk instead."
        )
    batches = ids.batches | (erasure.ids.batches if erasure else frozenset())
    files, faults = _find_raw_files(installation, subject_key, batches)
    layout = installation.layout
    return ErasurePreview(
        ids,
        files,
        tuple(faults),
        find_releases_with_subject(layout, ledger, subject_key),
        tuple(find_remaining_copies(layout, subject_key)),
        find_releases_with_copies(layout, ledger, subject_key),
        is_known=ids != SubjectIds() or erasure is not None,
    )


def require_data(subject_key: str, previews: Collection[ErasurePreview]) -> None:
    """Raise ErasureError if no product line has data of the subject or an erasure of it."""
    if not any(preview.is_known for preview in previews):
        raise ErasureError(
            f"There is no data of subject {subject_key}. To get the key of an id, run `fine-tune subjects key`. If its batch has "
            "not been read yet: " + materialize_hint("reports")
        )


def set_tombstone(ledger: Ledger, preview: ErasurePreview, *, subject_key: str, by: str, reason: str) -> Erasure:
    """From now on, no new data of the subject is read. Keeps an erasure that began earlier."""
    return record_erasure(
        ledger,
        subject_key=subject_key,
        by=by,
        reason=reason,
        ids=preview.ids,
        releases_by_copy=preview.releases_by_copy,
    )


def erase_subject(
    instance: dg.DagsterInstance,
    installation: Installation,
    ledger: Ledger,
    *,
    subject_key: str,
    by: str,
    reason: str,
    on_step: StepCallback,
) -> ErasureResult:
    """Erase a subject, or resume an interrupted erasure. The tombstone remains set if this raises ErasureError."""
    preview = preview_erasure(installation, ledger, subject_key)
    on_step("set the tombstone")
    erasure = set_tombstone(ledger, preview, subject_key=subject_key, by=by, reason=reason)
    _require_no_active_run(instance)
    # Search again: a run that has ended since the preview may have stored more data.
    erasure = add_erasure_ids(ledger, erasure, find_subject_ids(installation.layout, subject_key))
    files, faults = _find_raw_files(installation, subject_key, erasure.ids.batches)
    removed: Counter[str] = Counter()
    for name, step in _erasing_steps(instance, installation, ledger, erasure, files):
        on_step(name)
        removed.update(step())
    if faults:
        raise ErasureError(
            f"{' '.join(faults)} The tombstone is set, and all other data was removed. Repair the files, then run "
            f"`fine-tune subjects erase {subject_key}` again."
        )
    on_step("finish")
    return ErasureResult(complete_erasure(ledger, erasure, by, removed), files, preview.copies)


def restore_subject(installation: Installation, ledger: Ledger, *, subject_key: str, by: str, reason: str) -> None:
    """Lift an erasure. The next reading of the batches includes the subject again. Raises UnknownRecordError."""
    lifted = lift_erasure(ledger, subject_key=subject_key, by=by, reason=reason)
    remove_tombstones(installation.layout.instruction_sets, lifted.erasure_id)


def _erasing_steps(
    instance: dg.DagsterInstance, installation: Installation, ledger: Ledger, erasure: Erasure, files: SubjectFiles
) -> list[ErasureStep]:
    return [
        *build_erasure_steps(installation.layout, ledger, erasure),
        ("remove raw files", lambda: _count_entry("raw files", _delete_files(files.exclusive))),
        (
            "clear the scrubber's cache",
            lambda: _count_entry(
                "texts in the scrubber's cache", clear_span_caches(installation.layout.cache / SPAN_CACHE)
            ),
        ),
        ("remove scratch", lambda: _count_entry("scratch folders", installation.remove_stale_scratch(instance))),
    ]


def _find_raw_files(
    installation: Installation, subject_key: str, batches: frozenset[str]
) -> tuple[SubjectFiles, list[str]]:
    """The subject's raw files, in these batches and in those with a refused report of an erased subject."""
    searched = batches | batches_with_refusals(installation)
    folders = [installation.layout.raw_reports / batch for batch in sorted(searched)]
    existing = [folder for folder in folders if folder.is_dir()]
    return find_files_in_batches(existing, installation.subject_secret, subject_key, ReadLimits())


def _require_no_active_run(instance: dg.DagsterInstance) -> None:
    fail_abandoned_runs(instance)
    runs = instance.get_runs(dg.RunsFilter(statuses=ACTIVE_STATUSES))
    if runs:
        raise ErasureError(
            f"{len(runs)} active runs may still store data that they read before the tombstone was set. The tombstone is set, so "
            "no new data of the subject is read. Run the same command again when these runs have ended, to remove the data. To "
            "end interrupted runs, start the daemon: `fine-tune up dagster-daemon`."
        )


def _delete_files(paths: tuple[Path, ...]) -> int:
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


def _count_entry(name: str, count: int) -> dict[str, int]:
    return {name: count} if count else {}
