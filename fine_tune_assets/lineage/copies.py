"""Where a patient's words stand under another patient's key: reports that were dropped for each other, and equal examples.

Owns finding them. A model that learned from a copy saw the patient's words, whoever it was filed under. Reports that only mean
the same (`semantic`) are no copies: their words are others.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fine_tune_assets.lineage.instruction_sets import SetFolder, rows_in_sets
from fine_tune_assets.lineage.trace_steps import TableRows

Likeness = Literal["exact", "near"]


@dataclass(frozen=True)
class ReportCopy:
    """Another patient's report that says the same."""

    own_report: str
    other_report: str
    other_patient: str | None
    """None once its raw table has no such report."""
    likeness: Likeness


def copied_reports(tables: TableRows, own_reports: Sequence[str]) -> list[ReportCopy]:
    """The reports of others that stay in the place of one of these, or were dropped for it or together with it."""
    for column in ("dropped_id", "kept_id"):
        tables.look_up("duplicate_reports", column, own_reports)
    kept = {other for own in own_reports for other in _kinds(tables, "dropped_id", own, "kept_id")}
    tables.look_up("duplicate_reports", "kept_id", kept)
    found: dict[tuple[str, str], Likeness] = {}
    for own in own_reports:
        for other, likeness in _alike(tables, own).items():
            if other not in own_reports:
                found[own, other] = likeness
    tables.look_up("reports", "report_id", [other for _, other in found])
    return [
        ReportCopy(own, other, tables.one("reports", "report_id", other).get("patient_key"), likeness)
        for (own, other), likeness in sorted(found.items())
    ]


def examples_of_reports(tables: TableRows, sets: Iterable[SetFolder], reports: Collection[str]) -> dict[str, set[str]]:
    """Report → every example that was made of it, now or for a stored set."""
    found: dict[str, set[str]] = {report: set() for report in reports}
    for name in ("drafted_examples", "approved_examples"):
        tables.look_up(name, "report_id", reports)
        for report in reports:
            found[report] |= set(tables.values(name, "report_id", report, "example_id"))
    for _, row in rows_in_sets(sets, "report_id", *reports):
        found[row["report_id"]].add(row["example_id"])
    return found


def equal_examples(tables: TableRows, sets: Sequence[SetFolder], patient_key: str) -> dict[str, str]:
    """Example of another patient in a stored set → the patient's own example with the same content."""
    contents: dict[str, str] = {}
    for name in ("drafted_examples", "approved_examples"):
        rows = tables.rows(name, "patient_key", patient_key)
        contents |= {row["fingerprint"]: row["example_id"] for row in rows if "fingerprint" in row}
    return {
        row["example_id"]: contents[row["fingerprint"]]
        for _, row in rows_in_sets(sets, "fingerprint", *contents)
        if row.get("patient_key") not in (None, patient_key)
    }


def _alike(tables: TableRows, own: str) -> dict[str, Likeness]:
    """Report → how it is like this one. What was dropped for the same report is alike too, of the weaker kind."""
    kinds = _kinds(tables, "dropped_id", own, "kept_id") | _kinds(tables, "kept_id", own, "dropped_id")
    for kept, kind in _kinds(tables, "dropped_id", own, "kept_id").items():
        for sibling, other in _kinds(tables, "kept_id", kept, "dropped_id").items():
            if sibling != own:
                kinds[sibling] = "exact" if kind == other == "exact" else "near"
    return kinds


def _kinds(tables: TableRows, column: str, value: str, other: str) -> dict[str, Likeness]:
    rows = tables.rows("duplicate_reports", column, value)
    return {row[other]: row["kind"] for row in rows if row["kind"] in ("exact", "near")}
