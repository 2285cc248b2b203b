"""Where each row of a set comes from: its report, who approved it, by which decisions, and which scrubber it passed.

Owns the rows of `provenance.parquet` and their summary for the manifest. Holds ids and hashes only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.prompts.retrieval_contract import bare_question
from fine_tune_assets.tables.instructions import ProvenanceRow
from fine_tune_assets.tables.records import rows_of

_REPORT_COLUMNS = ("report_id", "fingerprint", "scrubber_version", "written_on")


@dataclass(frozen=True)
class ReportFacts:
    """What is known of a report without its text."""

    fingerprint: str | None
    scrubber_version: str | None
    written_on: date | None


def report_facts(reports: pa.Table, wanted: pa.ChunkedArray) -> dict[str, ReportFacts]:
    """Report id → facts, of the `wanted` ids that `unique_reports` holds."""
    columns = reports.select(_REPORT_COLUMNS)
    found = columns.filter(pc.is_in(columns.column("report_id"), value_set=wanted.combine_chunks()))
    return {row.pop("report_id"): ReportFacts(**row) for row in rows_of(found)}


def correction_facts(report_ids: Iterator[str], scrubber_version: str) -> dict[str, ReportFacts]:
    """Facts of drafts that no report stands behind: users' corrections, which the present scrubber left."""
    return {report_id: ReportFacts(None, scrubber_version, None) for report_id in report_ids}


def provenance_row(row: Mapping[str, Any], reports: Mapping[str, ReportFacts]) -> dict[str, Any]:
    """One `ProvenanceRow`. A replayed row brings its own; a general one has no report."""
    report = reports.get(row.get("report_id") or "", ReportFacts(None, None, None))
    kept = {"report_fingerprint": report.fingerprint, "scrubber_version": report.scrubber_version, **row}
    kept["passages"] = len(bare_question(row["instruction"], row["input"]).documents) or None
    kept["decision_ids"] = row.get("decision_ids") or []
    return {name: kept.get(name) for name in ProvenanceRow.SCHEMA.names}


def summary(provenance: pa.Table) -> dict[str, Any]:
    """Counts and one fingerprint each of the reports, decisions and scrubbers behind a set."""
    reports = {
        f"{row['report_id']} {row['report_fingerprint']}"
        for row in rows_of(provenance.select(["report_id", "report_fingerprint"]))
        if row["report_id"] is not None
    }
    decisions = {one for several in provenance.column("decision_ids").to_pylist() for one in several}
    scrubbers = {version for version in provenance.column("scrubber_version").to_pylist() if version is not None}
    return {
        "reports": len(reports),
        "reports_fingerprint": combine(sorted(reports)),
        "decisions": len(decisions),
        "decisions_fingerprint": combine(sorted(decisions)),
        "scrubber_versions": sorted(scrubbers),
    }
