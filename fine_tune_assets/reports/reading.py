"""Reads one batch folder: every file becomes reports, rows of `unreadable_reports`, or is listed as ignored.

Owns the order, the ids and that nothing is lost. How a file is read is in text_files and record_files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.tables import REPORTS, UNREADABLE_REPORTS, table_of
from fine_tune_assets.reports.batch_file import BatchFile, read_batch_file
from fine_tune_assets.reports.batches import BATCH_FILE, BatchFiles, BatchFolderError, list_files, shown_path
from fine_tune_assets.reports.contents import BatchContents
from fine_tune_assets.reports.identifiers import ReadReport, composed, patient_key
from fine_tune_assets.reports.quarantine import Reason, UnreadableError
from fine_tune_assets.reports.record_files import read_records
from fine_tune_assets.reports.text_files import read_text_report

TEXT_FORMATS = (".txt", ".md")
RECORD_FORMATS = (".csv", ".jsonl")
WHOLE_FOLDER = "."


@dataclass(frozen=True)
class ReadLimits:
    largest_file_bytes: int = 50_000_000
    """A file above it is not read. Reading takes about ten times its size in memory."""
    longest_report_characters: int = 500_000
    """A report above it is not taken: spaCy refuses a text of more than 1,000,000, and with it the report's whole batch."""


@dataclass(frozen=True)
class BatchReading:
    """What came of a batch folder. Every file is in one of the two tables or in `ignored`."""

    reports: pa.Table
    unreadable: pa.Table
    files: int
    ignored: tuple[str, ...]
    version: str
    """Of the very bytes that were read, comparable with `fingerprint_batch`."""


class ChangedBatchError(FineTuneError):
    """What was read of a batch is not the version that was asked for."""


Outcome = tuple[Path, int | None, ReadReport | UnreadableError]
"""File, row number for a row of a file, and the report or the reason why there is none."""


def read_version(
    folder: Path, batch: str, patient_secret: bytes, limits: ReadLimits, version: str | None
) -> BatchReading:
    """Read a batch folder, and take it only if it held just this version (None: any).

    Raises ChangedBatchError if it did not, and BatchFolderError if there is no folder to be listed in this very version.
    """
    try:
        reading = read_batch(folder, batch, patient_secret, limits)
    except BatchFolderError as error:
        if version in (None, error.version):
            raise
        raise _changed(batch) from error
    if version not in (None, reading.version):
        raise _changed(batch)
    return reading


def _changed(batch: str) -> ChangedBatchError:
    return ChangedBatchError(
        f"Batch {batch} changed after it was noticed or while it was read: nothing was stored. It is read again by itself; "
        "if this goes on, find out what keeps writing into its folder."
    )


def read_batch(folder: Path, batch: str, patient_secret: bytes, limits: ReadLimits) -> BatchReading:
    """Read every file of a batch folder, in the order of their names. Raises BatchFolderError."""
    return read_files(folder, list_files(folder), batch, patient_secret, limits)


def read_files(folder: Path, files: BatchFiles, batch: str, patient_secret: bytes, limits: ReadLimits) -> BatchReading:
    """Read the files as they were listed: one that is gone by now is reported as vanished."""
    contents = BatchContents(folder, files)
    try:
        about, ignored = read_batch_file(contents), files.ignored
        outcomes = _without_repeated_ids(_outcomes(contents, about, limits))
    except UnreadableError as error:
        about, ignored = BatchFile(), tuple(p for p in files.ignored if p != Path(BATCH_FILE))
        outcomes = iter([(path, None, error) for path in (Path(BATCH_FILE), *files.to_read)])
    reports: list[dict[str, Any]] = []
    unreadable: list[dict[str, Any]] = []
    for path, record, outcome in outcomes:
        if isinstance(outcome, ReadReport):
            reports.append(_report_row(outcome, path, batch, about.source, patient_secret))
        else:
            unreadable.append(_unreadable_row(folder, path, record, outcome, batch))
    if not reports and not unreadable:
        nothing = UnreadableError(Reason.NO_REPORTS, "The folder holds no file to read.")
        unreadable.append(_unreadable_row(folder, Path(WHOLE_FOLDER), None, nothing, batch))
    return BatchReading(
        reports=table_of(reports, REPORTS),
        unreadable=table_of(unreadable, UNREADABLE_REPORTS),
        files=files.count,
        ignored=tuple(shown_path(p) for p in ignored),
        version=contents.version(),
    )


def _outcomes(contents: BatchContents, about: BatchFile, limits: ReadLimits) -> Iterator[Outcome]:
    for path in contents.files.to_read:
        try:
            for record, outcome in _read_file(contents, path, about, limits):
                is_too_long = isinstance(outcome, ReadReport) and len(outcome.text) > limits.longest_report_characters
                yield path, record, _too_long(limits) if is_too_long else outcome
        except UnreadableError as error:
            yield path, None, error


def _too_long(limits: ReadLimits) -> UnreadableError:
    most = limits.longest_report_characters
    return UnreadableError(Reason.TOO_LONG, f"Its text has more than {most} characters. Split it into several reports.")


def _read_file(
    contents: BatchContents, path: Path, about: BatchFile, limits: ReadLimits
) -> Iterator[tuple[int | None, ReadReport | UnreadableError]]:
    suffix = path.suffix.lower()
    if suffix not in TEXT_FORMATS + RECORD_FORMATS:
        known = ", ".join(TEXT_FORMATS + RECORD_FORMATS)
        raise UnreadableError(Reason.UNSUPPORTED_FORMAT, f"Only {known} are read. Export it as one of them.")
    content = contents.read(path, limits.largest_file_bytes)
    if suffix in TEXT_FORMATS:
        yield None, read_text_report(content, path)
    elif about.records is None:
        raise UnreadableError(Reason.BAD_BATCH_FILE, "batch.yaml has no `records` that say which column is what.")
    else:
        yield from read_records(content, path, about.records)


def _without_repeated_ids(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    seen: set[str] = set()
    for path, record, outcome in outcomes:
        if isinstance(outcome, ReadReport) and outcome.local_id in seen:
            repeated = UnreadableError(Reason.DUPLICATE_ID, "Another report of the batch has its id already.")
            yield path, record, repeated
        else:
            seen |= {outcome.local_id} if isinstance(outcome, ReadReport) else set()
            yield path, record, outcome


def _report_row(report: ReadReport, path: Path, batch: str, source: str, secret: bytes) -> dict[str, Any]:
    # Else a name that the metadata writes in one form of Unicode is not found where the text has it in the other.
    text = composed(report.text)
    return {
        "report_id": f"{batch}/{report.local_id}",
        "batch": batch,
        "source": source,
        "patient_key": patient_key(secret, report.patient),
        "text": text,
        "known_identifiers": [{"kind": i.kind.value, "value": composed(i.value)} for i in report.identifiers],
        "origin_file": shown_path(path),
        "fingerprint": fingerprint_text(text),
    }


def _unreadable_row(folder: Path, path: Path, record: int | None, error: UnreadableError, batch: str) -> dict[str, Any]:
    return {
        "batch": batch,
        "origin_file": shown_path(path),
        "record": record,
        "reason": error.reason.value,
        "detail": error.detail,
        "size_bytes": _size(folder / path),
    }


def _size(path: Path) -> int | None:
    try:
        return path.lstat().st_size
    except OSError:
        return None
