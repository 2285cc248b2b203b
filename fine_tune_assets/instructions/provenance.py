"""Provenance of each row of a set: its report, approver, decisions and scrubber version. Holds ids and hashes only."""

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
    """Facts about a report, without its text."""

    fingerprint: str | None
    scrubber_version: str | None
    written_on: date | None


def report_facts(reports: pa.Table, wanted: pa.ChunkedArray) -> dict[str, ReportFacts]:
    """Report id → facts, for the `wanted` ids in `unique_reports`."""
    columns = reports.select(_REPORT_COLUMNS)
    found = columns.filter(pc.is_in(columns.column("report_id"), value_set=wanted.combine_chunks()))
    rows = zip(*(found.column(name).to_pylist() for name in _REPORT_COLUMNS), strict=True)
    return {report_id: ReportFacts(*facts) for report_id, *facts in rows}


def correction_facts(report_ids: Iterator[str], scrubber_version: str) -> dict[str, ReportFacts]:
    """Facts of drafts from users' corrections, which have no report and were scrubbed by the current scrubber."""
    return {report_id: ReportFacts(None, scrubber_version, None) for report_id in report_ids}


def summarize_provenance(provenance: pa.Table) -> dict[str, Any]:
    """Counts and fingerprints of the reports, decisions and scrubbers of a set, for the manifest."""
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
