"""Reads a batch folder into reports, rows of `unreadable_reports`, and a list of ignored files.

Assigns ids and file order, and counts files so that none is lost. report_readers.py and formats/ read the single files.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.identifier_kinds import KINDS
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batches import (
    BatchFiles,
    BatchFolderError,
    IgnoreReason,
    format_path,
    list_files,
)
from fine_tune_assets.reports.file_contents import BatchContents
from fine_tune_assets.reports.isolated_reader import IsolatedReader
from fine_tune_assets.reports.ocr import find_ocr
from fine_tune_assets.reports.report_readers import RecordOutcome
from fine_tune_assets.reports.sample_reports import SubjectKeys, assign_subject_keys
from fine_tune_assets.reports.stated_identifiers import AcceptedReport, IdentifierKind, normalize_unicode
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason
from fine_tune_assets.tables.common_columns import HeadingLine, KnownIdentifier
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets.tables.report_rows import Report, UnreadableReport

WHOLE_FOLDER = "."
"""Used as the file name in rows that concern the whole folder."""


@dataclass(frozen=True)
class FileCounts:
    """Counts of a batch's files, including archive entries."""

    files: int
    files_read: int
    """Files that produced at least one report."""
    files_unreadable: int
    """Files that produced no report; `unreadable_reports` has the reason."""
    files_ignored: int

    @property
    def is_balanced(self) -> bool:
        return self.files_read + self.files_unreadable + self.files_ignored == self.files


@dataclass(frozen=True)
class BatchResult:
    """The outcome of a batch folder: every file is in one of the two tables or in `ignored`."""

    reports: pa.Table
    unreadable: pa.Table
    files: int
    """Files in the folder and its archives."""
    ignored: Mapping[str, IgnoreReason]
    version: str
    """Fingerprint of the exact bytes read, comparable with `fingerprint_batch`."""

    @property
    def file_counts(self) -> FileCounts:
        return count_files(self.files, self.reports, self.unreadable, self.ignored)


def count_files(files: int, reports: pa.Table, unreadable: pa.Table, ignored: Mapping[str, IgnoreReason]) -> FileCounts:
    """Count the files in the tables. A file that was lost or counted twice makes the counts unbalanced."""
    read = set(reports.column("origin_file").to_pylist())
    quarantined = set(unreadable.column("origin_file").to_pylist()) - {WHOLE_FOLDER} - read
    return FileCounts(files, len(read), len(quarantined), len(ignored))


def count_by_reason(ignored: Mapping[str, IgnoreReason]) -> dict[str, int]:
    return dict(sorted(Counter(reason.value for reason in ignored.values()).items()))


class ChangedBatchError(FineTuneError):
    """The bytes read from a batch do not match the requested version."""


def read_batch_version(
    folder: Path,
    batch: str,
    subject_secret: bytes,
    limits: ReadLimits,
    version: str | None,
    erased_subjects: Collection[str],
    is_subject_required: bool = True,
    own_kinds: Collection[str] = (),
) -> BatchResult:
    """Read a batch folder and check that it matches `version` (None accepts any version).

    Reports of subjects whose keys are in `erased_subjects` become rows of `unreadable_reports`.

    Raises ChangedBatchError if the version differs, and BatchFolderError if the folder is missing or can't be listed.
    """
    try:
        reading = read_batch(
            folder,
            batch,
            subject_secret,
            limits,
            erased_subjects=erased_subjects,
            is_subject_required=is_subject_required,
            own_kinds=own_kinds,
        )
    except BatchFolderError as error:
        if version in (None, error.version):
            raise
        raise _changed_error(batch) from error
    if version not in (None, reading.version):
        raise _changed_error(batch)
    return reading


def _changed_error(batch: str) -> ChangedBatchError:
    return ChangedBatchError(
        f"Batch {batch} changed while it was being read; nothing was stored. It is retried automatically. "
        "If this error persists, check which program writes to its folder."
    )


def read_batch(
    folder: Path,
    batch: str,
    subject_secret: bytes,
    limits: ReadLimits,
    erased_subjects: Collection[str] = (),
    files: BatchFiles | None = None,
    is_subject_required: bool = True,
    reader: IsolatedReader | None = None,
    own_kinds: Collection[str] = (),
) -> BatchResult:
    """Read every file of a batch folder in name order. Raises BatchFolderError.

    `files` is an earlier listing; None lists the folder now. A listed file that no longer exists becomes `file_missing`. If no
    subject is required, a report that names none is its own subject. `reader` is an open reader with these limits; None starts
    one for this batch. `own_kinds` are the kinds of identifiers that the domain pack adds.
    """
    contents = BatchContents(folder, list_files(folder) if files is None else files)
    with IsolatedReader(limits, find_ocr()) if reader is None else nullcontext(reader) as opened:
        reading = opened.read_batch(contents, batch, is_subject_required=is_subject_required)
    keys = assign_subject_keys(reading.outcomes, subject_secret, batch, reading.source)
    reports: list[Report] = []
    unreadable: list[UnreadableReport] = []
    known = _reject_unknown_kinds(reading.outcomes, {*IdentifierKind, *KINDS, *own_kinds})
    for outcome in _reject_repeated_ids(_reject_erased(known, keys, erased_subjects)):
        if isinstance(outcome.result, AcceptedReport):
            reports.append(_report_row(outcome.result, outcome.path, batch, reading.source, keys))
        else:
            unreadable.append(_unreadable_row(outcome, outcome.result, batch))
    if not reports and not unreadable:
        nothing = UnreadableError(UnreadableReason.NO_REPORTS, "The folder contains no readable files.")
        unreadable.append(_unreadable_row(RecordOutcome(Path(WHOLE_FOLDER), None, nothing, None), nothing, batch))
    return BatchResult(
        reports=table_from_records(Report, reports),
        unreadable=table_from_records(UnreadableReport, unreadable),
        files=reading.files,
        ignored={format_path(path): reason for path, reason in reading.ignored.items()},
        version=contents.fingerprint(),
    )


def _reject_unknown_kinds(outcomes: Iterable[RecordOutcome], kinds: Collection[str]) -> Iterator[RecordOutcome]:
    """Replace reports that state a kind which the scrubber can't replace. The kind is not named: with kind and value confused,
    it is a value."""
    for outcome in outcomes:
        stated = outcome.result.identifiers if isinstance(outcome.result, AcceptedReport) else ()
        if any(one.kind not in kinds for one in stated):
            refused = UnreadableError(
                UnreadableReason.UNKNOWN_KIND,
                "The metadata states a kind of identifier that the recipe's domain does not have. Add it to `identifiers` of the "
                f"domain pack, or use one of {', '.join(sorted(kinds))}.",
            )
            yield RecordOutcome(outcome.path, outcome.record, refused, outcome.size_bytes)
        else:
            yield outcome


def _reject_repeated_ids(outcomes: Iterator[RecordOutcome]) -> Iterator[RecordOutcome]:
    seen: set[str] = set()
    for outcome in outcomes:
        if isinstance(outcome.result, AcceptedReport) and outcome.result.local_id in seen:
            repeated = UnreadableError(UnreadableReason.DUPLICATE_ID, "Another report of the batch has the same id.")
            yield RecordOutcome(outcome.path, outcome.record, repeated, outcome.size_bytes)
        else:
            seen |= {outcome.result.local_id} if isinstance(outcome.result, AcceptedReport) else set()
            yield outcome


def _reject_erased(
    outcomes: Iterable[RecordOutcome], keys: SubjectKeys, erased: Collection[str]
) -> Iterator[RecordOutcome]:
    """Replace reports of erased subjects by errors that name their location, so that the sender can remove them."""
    for outcome in outcomes:
        if isinstance(outcome.result, AcceptedReport) and keys.is_erased(outcome.result.subject, erased):
            refused = UnreadableError(
                UnreadableReason.ERASED_SUBJECT, "The subject was erased. Remove the report from the batch folder."
            )
            yield RecordOutcome(outcome.path, outcome.record, refused, outcome.size_bytes)
        else:
            yield outcome


def _report_row(report: AcceptedReport, path: Path, batch: str, source: str, keys: SubjectKeys) -> Report:
    # Names in the metadata are found in the text only if both use the same Unicode form.
    text = normalize_unicode(report.text)
    return Report(
        report_id=f"{batch}/{report.local_id}",
        batch=batch,
        source=source,
        subject_key=keys.get_key(report.subject),
        text=text,
        known_identifiers=tuple(
            KnownIdentifier(kind=str(i.kind), value=normalize_unicode(i.value)) for i in report.identifiers
        ),
        origin_file=format_path(path),
        written_on=report.written_on,
        fingerprint=fingerprint_text(text),
        headings=tuple(HeadingLine(line=heading.line, level=heading.level) for heading in report.headings),
    )


def _unreadable_row(outcome: RecordOutcome, error: UnreadableError, batch: str) -> UnreadableReport:
    return UnreadableReport(
        batch=batch,
        origin_file=format_path(outcome.path),
        record=outcome.record,
        reason=error.reason.value,
        detail=error.detail,
        size_bytes=outcome.size_bytes,
    )
