"""Finds the raw files that contain a subject's reports, and which of them can be deleted.

Reads the batch again, because tables describe the files as they were read, not as they are now. A file with other subjects or
unreadable content is never deleted: it is reported for manual cleanup.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batches import IgnoreReason, fingerprint_batch, format_path, list_files
from fine_tune_assets.reports.file_contents import BatchContents
from fine_tune_assets.reports.formats.fhir import FHIR_FORMATS
from fine_tune_assets.reports.isolated_reader import BatchReading, IsolatedReader
from fine_tune_assets.reports.ocr import find_ocr
from fine_tune_assets.reports.report_readers import RecordOutcome
from fine_tune_assets.reports.sample_reports import SubjectKeys, assign_subject_keys
from fine_tune_assets.reports.stated_identifiers import AcceptedReport
from fine_tune_assets.reports.unreadable_files import UnreadableError

_ACCOUNTED_ENTRIES = frozenset({IgnoreReason.ARCHIVE, IgnoreReason.SIDECAR})
"""Archive entries that need no check: the reports in the archive account for them."""


class ConcurrentChangeError(FineTuneError):
    """A batch folder was modified during the search."""


@dataclass(frozen=True)
class SharedFile:
    """A file that also contains other content. The subject must be removed manually."""

    batch: str
    file: str
    """Path in the batch folder; an archive entry as `archive.zip/entry`."""
    records: tuple[int, ...]
    """Rows, lines, messages or resources of the subject, from 1; empty if the file is one report."""


@dataclass(frozen=True)
class SubjectFiles:
    exclusive: tuple[Path, ...]
    """Files that contain only this subject's reports, with their sidecars."""
    shared: tuple[SharedFile, ...]
    to_inspect: tuple[str, ...]
    """FHIR files, as `batch/file`, that reports refer to: they may identify the subject."""


def find_subject_files(folder: Path, secret: bytes, subject_key: str, reader: IsolatedReader) -> SubjectFiles:
    """Search a batch folder. Raises BatchFolderError, UnreadableError, ConcurrentChangeError."""
    before = fingerprint_batch(folder)
    contents = BatchContents(folder, list_files(folder))
    reading = reader.read_batch(contents, folder.name, is_subject_required=False)
    if reading.rejection is not None:
        raise reading.rejection
    by_file: dict[Path, list[RecordOutcome]] = defaultdict(list)
    for outcome in reading.outcomes:
        by_file[_find_batch_file(outcome.path, contents)].append(outcome)
    keys = assign_subject_keys(chain(*by_file.values()), secret, folder.name, reading.source)
    if fingerprint_batch(folder) != before or contents.fingerprint() != before:
        raise ConcurrentChangeError(f"Batch {folder.name} was modified during the search. Run the erasure again.")
    exclusive: list[Path] = []
    shared: list[SharedFile] = []
    for path, outcomes in by_file.items():
        of_subject = [o for o in outcomes if _is_of_subject(o, keys, subject_key)]
        if of_subject and len(of_subject) == len(outcomes) and not _has_other_content(path, reading):
            exclusive += [folder / path, *(folder / sidecar for sidecar in _find_exclusive_sidecars(path, contents))]
        elif of_subject:
            shared += _list_shared_files(folder.name, of_subject)
    resources = [path for path, reason in reading.ignored.items() if reason is IgnoreReason.RESOURCES]
    has_reports = bool(exclusive or shared)
    return SubjectFiles(
        tuple(exclusive),
        tuple(shared),
        tuple(f"{folder.name}/{format_path(p)}" for p in resources) if has_reports else (),
    )


def find_files_in_batches(
    folders: list[Path], secret: bytes, subject_key: str, limits: ReadLimits
) -> tuple[SubjectFiles, list[str]]:
    """Search several batches; also returns a message for each batch that could not be searched."""
    results: list[SubjectFiles] = []
    errors: list[str] = []
    with IsolatedReader(limits, find_ocr()) as reader:
        for folder in folders:
            try:
                results.append(find_subject_files(folder, secret, subject_key, reader))
            except FineTuneError as error:
                errors.append(str(error))
            except UnreadableError as error:
                errors.append(f"Batch {folder.name} can't be searched: {error.detail}")
    exclusive = tuple(path for files in results for path in files.exclusive)
    shared = tuple(file for files in results for file in files.shared)
    return SubjectFiles(exclusive, shared, tuple(name for files in results for name in files.to_inspect)), errors


def _find_batch_file(path: Path, contents: BatchContents) -> Path:
    """Return the file in the batch folder; for an archive entry, the archive."""
    return next(p for p in (path, *path.parents) if p in contents.files.readable)


def _find_exclusive_sidecars(path: Path, contents: BatchContents) -> list[Path]:
    """Return the file's sidecar, unless another file shares it, such as `scan.txt` and `scan.pdf`."""
    sidecar = contents.files.find_sidecar(path)
    others = [p for p in contents.files.readable if p != path and contents.files.find_sidecar(p) == sidecar]
    return [] if sidecar is None or others else [sidecar]


def _is_of_subject(outcome: RecordOutcome, keys: SubjectKeys, key: str) -> bool:
    return isinstance(outcome.result, AcceptedReport) and keys.get_key(outcome.result.subject) == key


def _has_other_content(path: Path, reading: BatchReading) -> bool:
    """Whether the file contains more than its reports: FHIR resources that reports elsewhere refer to, or unread entries."""
    unread = [
        entry for entry, reason in reading.ignored.items() if reason not in _ACCOUNTED_ENTRIES and path in entry.parents
    ]
    return path.suffix.lower() in FHIR_FORMATS or bool(unread)


def _list_shared_files(batch: str, outcomes: list[RecordOutcome]) -> list[SharedFile]:
    records: dict[str, list[int]] = defaultdict(list)
    for outcome in outcomes:
        records[format_path(outcome.path)] += [] if outcome.record is None else [outcome.record]
    return [SharedFile(batch, file, tuple(found)) for file, found in records.items()]
