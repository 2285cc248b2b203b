"""Tables of stage 3: unique and duplicate reports."""

from enum import StrEnum
from typing import Annotated

from fine_tune_assets.tables.common_columns import (
    BatchName,
    Headings,
    ReportId,
    Source,
    SubjectKey,
    TextFingerprint,
    WrittenOn,
)
from fine_tune_assets.tables.record_classes import Column, Record


class UniqueReport(Record):
    """A report that is kept after deduplication."""

    report_id: ReportId
    batch: BatchName
    source: Source
    subject_key: SubjectKey
    text: Annotated[str, Column("Scrubbed text", is_report_text=True)]
    scrubber_version: Annotated[str | None, Column("Fingerprint of the scrubber")]
    written_on: WrittenOn
    fingerprint: TextFingerprint
    headings: Headings = None


class DuplicateReport(Record):
    """A report dropped as a duplicate of another."""

    dropped_id: Annotated[str, Column("Dropped report")]
    kept_id: Annotated[str, Column("Report kept instead")]
    kind: Annotated[str, Column("`exact`, `near` or `semantic`")]
    similarity: Annotated[float, Column("Jaccard similarity of shingles, or cosine of embeddings (semantic), 0 to 1")]
    reason: Annotated[str, Column("Why the other report was kept")]
    conflicts: Annotated[
        tuple[str, ...] | None,
        Column("`numbers` or `sides` only in the dropped report; `negations` if counts differ"),
    ]
    fingerprint: Annotated[str | None, Column("SHA-256 of the dropped report's scrubbed text")]


class ConflictingReport(Record):
    """Two reports that share most of their words and are both kept, because their facts conflict."""

    report_id: Annotated[str, Column("The shorter or older report")]
    other_id: Annotated[str, Column("The other report")]
    similarity: Annotated[float, Column("Jaccard similarity of shingles, 0 to 1")]
    conflicts: Annotated[
        tuple[str, ...] | None,
        Column("`numbers` or `sides` only in `report_id`; `negations` if counts differ"),
    ]


class UncomparedReason(StrEnum):
    """Why a scrubbed report is not compared with the others."""

    EARLIER_SCRUBBER = "earlier_scrubber"
    SURROGATE_COLLISION = "surrogate_collision"
    MARKED_IDENTIFIER = "marked_identifier"


class UncomparedReport(Record):
    """A scrubbed report that waits to be scrubbed again before it is compared."""

    report_id: ReportId
    reason: Annotated[str, Column("`earlier_scrubber`, `surrogate_collision` or `marked_identifier`")]
