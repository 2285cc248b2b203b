"""Tables of stage 1: raw reports and unreadable files."""

from datetime import date
from typing import Annotated

from fine_tune_assets.tables.common_columns import (
    BatchName,
    Headings,
    KnownIdentifier,
    ReportId,
    Source,
    SubjectKey,
    TextFingerprint,
)
from fine_tune_assets.tables.record_classes import Column, Record


class Report(Record):
    """A raw report with identifiers."""

    report_id: ReportId
    batch: BatchName
    source: Source
    subject_key: SubjectKey
    text: Annotated[str, Column("Raw text of the report, with identifiers", is_report_text=True)]
    known_identifiers: Annotated[
        tuple[KnownIdentifier, ...], Column("Identifiers from the report's metadata", is_report_text=True)
    ]
    origin_file: Annotated[str, Column("File in the batch folder; archive entries as `archive.zip/entry`")]
    written_on: Annotated[date | None, Column("Date of the report from its metadata", is_report_text=True)]
    fingerprint: TextFingerprint
    headings: Headings = None


class ReportLanguage(Record):
    """Reports of a batch that are in another language than English."""

    batch: BatchName
    language: Annotated[str, Column("Language, or `another script`")]
    reports: Annotated[int, Column("Number of reports")]


class UnreadableReport(Record):
    """An unreadable file or record, with the reason."""

    batch: BatchName
    origin_file: Annotated[str, Column("File in the batch folder; archive entries as `archive.zip/entry`")]
    record: Annotated[int | None, Column("Row, line, message or resource number, from 1; absent for files")]
    reason: Annotated[str, Column("Reason, from a fixed list")]
    detail: Annotated[str, Column("Remedy; never report text")]
    size_bytes: Annotated[int | None, Column("Size of the file")]
