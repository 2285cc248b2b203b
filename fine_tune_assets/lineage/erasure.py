"""Erases a subject from tables, instruction sets, training records and caches, and marks the releases that used them.

Defines the steps on the local data folder and their order. Every step can be repeated, so the same call resumes an interrupted
erasure. The command line adds raw files and the check that no Dagster run is active.
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
    SubjectIds,
    delete_subject_records,
    finish_erasure,
    mark_releases,
    purge_deleted_rows,
)
from fine_tune_assets.ledger.serving.release_records import list_releases
from fine_tune_assets.lineage.copies import ReportCopy, find_copied_reports
from fine_tune_assets.lineage.final_text_findings import remove_findings
from fine_tune_assets.lineage.set_history import erase_from_sets, find_ids_in_sets, list_sets, remove_excluded_examples
from fine_tune_assets.lineage.subject_rows import (
    SUBJECT_COLUMN,
    SubjectRows,
    find_ids_in_tables,
    has_subject_columns,
    remove_rows,
)
from fine_tune_assets.lineage.trace_records import USE_BY_SPLIT
from fine_tune_assets.lineage.trace_steps import TableRows
from fine_tune_assets.lineage.traces import UnknownIdError, trace_subject
from fine_tune_assets.lineage.training_runs import remove_examples

ErasureStep = tuple[str, Callable[[], Mapping[str, int]]]
"""Name of a step, and a function that performs it and returns counts by kind."""
SPAN_CACHE = "scrubbed"
"""Contains offsets under keyed hashes of texts. `phi` clears it itself, because a scrubber may have it open."""


def find_subject_ids(layout: Layout, subject_key: str) -> SubjectIds:
    """Ids of a subject's reports, examples and batches in tables and instruction sets."""
    return find_ids_in_tables(layout.tables, subject_key).union(find_ids_in_sets(layout.instruction_sets, subject_key))


def find_releases_with_subject(layout: Layout, ledger: Ledger, subject_key: str) -> dict[str, str]:
    """Release → the split in which it used the subject, as far as the sets still show."""
    splits = {
        short(stored.fingerprint): rows[0].split
        for stored in list_sets(layout.instruction_sets)
        if (rows := stored.find_rows(SUBJECT_COLUMN, subject_key))
    }
    return {
        release.release_id: splits[short(release.instruction_set_fingerprint)]
        for release in list_releases(ledger)
        if short(release.instruction_set_fingerprint) in splits
    }


def find_remaining_copies(layout: Layout, subject_key: str) -> list[ReportCopy]:
    """Other subjects' reports with the same text as one of the subject's. They stay."""
    tables = TableRows(layout.tables)
    return find_copied_reports(tables, tables.find_values("reports", "subject_key", subject_key, "report_id"))


def find_releases_with_copies(layout: Layout, ledger: Ledger, subject_key: str) -> dict[str, str]:
    """Release → the split in which it used the subject's text under another subject's key."""
    try:
        copies = trace_subject(layout, ledger, subject_key).copies
    except UnknownIdError:
        return {}
    trainings = [training for copy in copies for training in copy.example.trainings]
    # Training splits take precedence over the test split.
    order = list(USE_BY_SPLIT)
    trainings.sort(key=lambda training: order.index(training.split), reverse=True)
    return {release.release_id: training.split for training in trainings for release in training.releases}


def build_erasure_steps(layout: Layout, ledger: Ledger, erasure: Erasure) -> list[ErasureStep]:
    """All steps except raw files, in order. Releases are marked first, while the sets still list the subject."""
    rows = SubjectRows(erasure.subject_key, erasure.ids)

    def mark() -> Mapping[str, int]:
        found = find_releases_with_subject(layout, ledger, erasure.subject_key)
        mark_releases(ledger, erasure.subject_key, found)
        return {}

    def sets() -> Mapping[str, int]:
        return erase_from_sets(layout.instruction_sets, rows, erasure.erasure_id, datetime.now(UTC))

    def trainings() -> Mapping[str, int]:
        return _count_entry("training records", remove_examples(layout.adapters, erasure.ids.example_ids))

    def excluded_examples() -> Mapping[str, int]:
        found = remove_excluded_examples(layout.instruction_sets, erasure.ids.example_ids)
        return _count_entry("excluded examples", found)

    def findings() -> Mapping[str, int]:
        return _count_entry("findings in final texts", remove_findings(layout.instruction_sets, rows))

    return [
        ("mark the releases", mark),
        ("remove from instruction sets", sets),
        ("remove from excluded examples", excluded_examples),
        ("remove from findings in final texts", findings),
        ("remove from tables", lambda: remove_rows(layout.tables, rows)),
        ("remove from training records", trainings),
        ("remove from caches", lambda: _count_entry("cached files", _clear_caches(layout.cache, rows))),
        (
            "remove unfinished files",
            lambda: _count_entry("unfinished files", _remove_unfinished(layout, erasure.erased_at)),
        ),
        ("remove from the ledger", lambda: delete_subject_records(ledger, erasure)),
    ]


def complete_erasure(ledger: Ledger, erasure: Erasure, by: str, removed: Mapping[str, int]) -> Erasure:
    """Finish the erasure: forget its ids and purge deleted rows from the database files."""
    finished = finish_erasure(ledger, erasure, by, removed)
    purge_deleted_rows(ledger)
    return finished


def _clear_caches(cache: Path, rows: SubjectRows) -> int:
    """Clear the caches and return the number of changed or removed files.

    Caches whose rows name reports lose those rows; other caches are deleted, because their content is unknown and they can be
    rebuilt.
    """
    changed = len(remove_rows(cache, rows))
    for path in sorted(cache.rglob("*")) if cache.is_dir() else ():
        if path.is_file() and not has_subject_columns(path) and SPAN_CACHE not in path.relative_to(cache).parts:
            path.unlink(missing_ok=True)
            changed += 1
    return changed


def _remove_unfinished(layout: Layout, before: datetime) -> int:
    """Delete temporary files of interrupted runs. Files newer than the tombstone are still being written, without the subject."""
    count = 0
    for root in (layout.tables, layout.instruction_sets, layout.cache):
        for path in sorted(root.rglob(".*.tmp")) if root.is_dir() else ():
            if path.exists() and path.stat().st_mtime < before.timestamp():
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                count += 1
    return count


def _count_entry(name: str, count: int) -> dict[str, int]:
    return {name: count} if count else {}
