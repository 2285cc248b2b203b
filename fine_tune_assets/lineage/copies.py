"""Finds a subject's text under another subject's key: duplicate reports and equal examples.

A model that learned from a copy saw the subject's text. Semantic duplicates are not copies, because their wording differs.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fine_tune_assets.lineage.set_history import SetFolder, find_rows_in_sets
from fine_tune_assets.lineage.trace_steps import TableRows

CopyKind = Literal["exact", "near"]


@dataclass(frozen=True)
class ReportCopy:
    """Another subject's report with the same text."""

    own_report: str
    other_report: str
    other_subject: str | None
    """None if its raw table no longer contains the report."""
    kind: CopyKind


def find_copied_reports(tables: TableRows, own_reports: Sequence[str]) -> list[ReportCopy]:
    """Others' reports that were kept instead of one of these, or dropped for it or together with it."""
    for column in ("dropped_id", "kept_id"):
        tables.prefetch("duplicate_reports", column, own_reports)
    kept_ids = {other for own in own_reports for other in _find_duplicate_kinds(tables, "dropped_id", own, "kept_id")}
    tables.prefetch("duplicate_reports", "kept_id", kept_ids)
    found: dict[tuple[str, str], CopyKind] = {}
    for own in own_reports:
        for other, likeness in _find_similar_reports(tables, own).items():
            if other not in own_reports:
                found[own, other] = likeness
    tables.prefetch("reports", "report_id", [other for _, other in found])
    return [
        ReportCopy(own, other, tables.find_row("reports", "report_id", other).get("subject_key"), likeness)
        for (own, other), likeness in sorted(found.items())
    ]


def find_examples_of_reports(
    tables: TableRows, sets: Iterable[SetFolder], reports: Collection[str]
) -> dict[str, set[str]]:
    """Report → every example made from it, current or in a stored set."""
    found: dict[str, set[str]] = {report: set() for report in reports}
    for name in ("drafted_examples", "approved_examples"):
        tables.prefetch(name, "report_id", reports)
        for report in reports:
            found[report] |= set(tables.find_values(name, "report_id", report, "example_id"))
    for _, row in find_rows_in_sets(sets, "report_id", *reports):
        found[str(row.report_id)].add(row.example_id)
    return found


def find_equal_examples(tables: TableRows, sets: Sequence[SetFolder], subject_key: str) -> dict[str, str]:
    """Example of another subject in a stored set → the subject's own example with the same content."""
    contents: dict[str, str] = {}
    for name in ("drafted_examples", "approved_examples"):
        rows = tables.find_rows(name, "subject_key", subject_key)
        contents |= {row["fingerprint"]: row["example_id"] for row in rows if "fingerprint" in row}
    return {
        row.example_id: contents[row.fingerprint]
        for _, row in find_rows_in_sets(sets, "fingerprint", *contents)
        if row.subject_key not in (None, subject_key)
    }


def _find_similar_reports(tables: TableRows, own: str) -> dict[str, CopyKind]:
    """Report → kind of copy. Reports dropped for the same report are copies too, of the weaker kind."""
    kinds = _find_duplicate_kinds(tables, "dropped_id", own, "kept_id") | _find_duplicate_kinds(
        tables, "kept_id", own, "dropped_id"
    )
    for kept, kind in _find_duplicate_kinds(tables, "dropped_id", own, "kept_id").items():
        for sibling, other in _find_duplicate_kinds(tables, "kept_id", kept, "dropped_id").items():
            if sibling != own:
                kinds[sibling] = "exact" if kind == other == "exact" else "near"
    return kinds


def _find_duplicate_kinds(tables: TableRows, column: str, value: str, other: str) -> dict[str, CopyKind]:
    rows = tables.find_rows("duplicate_reports", column, value)
    return {row[other]: row["kind"] for row in rows if row["kind"] in ("exact", "near")}
