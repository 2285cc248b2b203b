"""Tables of stage 1: reports as they came, and what could not be read."""

from datetime import date
from typing import Annotated

from fine_tune_assets.tables.columns_in_common import (
    BatchName,
    KnownIdentifier,
    PatientKey,
    ReportId,
    Source,
    TextFingerprint,
)
from fine_tune_assets.tables.records import Column, Record


class Report(Record):
    """A report as it came, with identifiers."""

    report_id: ReportId
    batch: BatchName
    source: Source
    patient_key: PatientKey
    text: Annotated[str, Column("Text of the report as it came, with identifiers", is_report_text=True)]
    known_identifiers: Annotated[
        tuple[KnownIdentifier, ...], Column("Identifiers that the report's own metadata states", is_report_text=True)
    ]
    origin_file: Annotated[str, Column("File in the batch folder; an entry of an archive as `archive.zip/entry`")]
    written_on: Annotated[date | None, Column("Day on which it was written, as its metadata says", is_report_text=True)]
    fingerprint: TextFingerprint


class UnreadableReport(Record):
    """A file or record that could not be read, and why."""

    batch: BatchName
    origin_file: Annotated[str, Column("File in the batch folder; an entry of an archive as `archive.zip/entry`")]
    record: Annotated[int | None, Column("Row, line, message or resource in the file, from 1; absent for a whole file")]
    reason: Annotated[str, Column("Why it could not be read, one of a fixed list")]
    detail: Annotated[str, Column("What to do about it; never report text")]
    size_bytes: Annotated[int | None, Column("Size of the file")]
