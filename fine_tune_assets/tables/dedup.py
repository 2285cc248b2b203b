"""Tables of stage 3: distinct reports."""

from typing import Annotated

from fine_tune_assets.tables.columns_in_common import (
    BatchName,
    PatientKey,
    ReportId,
    Source,
    TextFingerprint,
    WrittenOn,
)
from fine_tune_assets.tables.records import Column, Record


class UniqueReport(Record):
    """A distinct report."""

    report_id: ReportId
    batch: BatchName
    source: Source
    patient_key: PatientKey
    text: Annotated[str, Column("Scrubbed text", is_report_text=True)]
    scrubber_version: Annotated[str | None, Column("Fingerprint of the scrubber that left the text")]
    written_on: WrittenOn
    fingerprint: TextFingerprint


class DuplicateReport(Record):
    """A report that was dropped, and for which one."""

    dropped_id: Annotated[str, Column("Report that was dropped")]
    kept_id: Annotated[str, Column("Report that stays in its place")]
    kind: Annotated[str, Column("`exact`, `near` or `semantic`")]
    similarity: Annotated[
        float, Column("Jaccard similarity of word shingles, or cosine of embeddings (semantic), 0 to 1")
    ]
    reason: Annotated[str, Column("Why this one stayed")]
    disagrees_on: Annotated[
        tuple[str, ...] | None,
        Column(
            "`numbers`, `sides`: the dropped report states some that the kept one lacks; `denials`: it says no more or less often"
        ),
    ]
    fingerprint: Annotated[str | None, Column("SHA-256 of the dropped report's scrubbed text")]
