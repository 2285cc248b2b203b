"""Where each row of a set comes from: its report, who approved it, by which decisions, and which scrubber it passed.

Owns the facts of reports and the summary of `provenance.parquet` for the manifest. Holds ids and hashes only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.fingerprints import combine

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
    rows = zip(*(found.column(name).to_pylist() for name in _REPORT_COLUMNS), strict=True)
    return {report_id: ReportFacts(*facts) for report_id, *facts in rows}


def correction_facts(report_ids: Iterator[str], scrubber_version: str) -> dict[str, ReportFacts]:
    """Facts of drafts that no report stands behind: users' corrections, which the present scrubber left."""
    return {report_id: ReportFacts(None, scrubber_version, None) for report_id in report_ids}


def summary(provenance: pa.Table) -> dict[str, Any]:
    """Counts and one fingerprint each of the reports, decisions and scrubbers behind a set."""
    columns = (provenance.column(name).to_pylist() for name in ("report_id", "report_fingerprint"))
    reports = {f"{report_id} {text}" for report_id, text in zip(*columns, strict=True) if report_id is not None}
    decisions = {one for several in provenance.column("decision_ids").to_pylist() for one in several}
    scrubbers = {version for version in provenance.column("scrubber_version").to_pylist() if version is not None}
    return {
        "reports": len(reports),
        "reports_fingerprint": combine(sorted(reports)),
        "decisions": len(decisions),
        "decisions_fingerprint": combine(sorted(decisions)),
        "scrubber_versions": sorted(scrubbers),
    }
