"""Reads one batch folder: every file becomes reports, rows of `unreadable_reports`, or is listed as ignored.

Owns the order, the ids, and that nothing is lost: how files are counted. How a file is read is in dispatch.py and formats/.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_file import BatchFile, read_batch_file
from fine_tune_assets.reports.batches import BATCH_FILE, BatchFiles, BatchFolderError, Ignored, list_files, shown_path
from fine_tune_assets.reports.contents import BatchContents
from fine_tune_assets.reports.dispatch import BatchReader, Outcome
from fine_tune_assets.reports.facts import ReadDocument
from fine_tune_assets.reports.identifiers import ReadReport, composed
from fine_tune_assets.reports.isolation import IsolatedDocuments
from fine_tune_assets.reports.ocr import find_ocr
from fine_tune_assets.reports.sample_reports import SubjectKeys, keys_of_outcomes
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.tables.reports import Report, UnreadableReport

WHOLE_FOLDER = "."
"""Stands in the place of a file where there is none."""


@dataclass(frozen=True)
class Accounting:
    """Files of a batch, entries of archives included."""

    files: int
    files_read: int
    """At least one report came of it."""
    files_quarantined: int
    """No report came of it, and why stands in `unreadable_reports`."""
    files_ignored: int

    @property
    def is_balanced(self) -> bool:
        return self.files_read + self.files_quarantined + self.files_ignored == self.files


@dataclass(frozen=True)
class BatchReading:
    """What came of a batch folder. Every file is in one of the two tables or in `ignored`."""

    reports: pa.Table
    unreadable: pa.Table
    files: int
    """Files in the folder and in its archives."""
    ignored: Mapping[str, Ignored]
    version: str
    """Of the very bytes that were read, comparable with `fingerprint_batch`."""

    @property
    def accounting(self) -> Accounting:
        return account(self.files, self.reports, self.unreadable, self.ignored)


def account(files: int, reports: pa.Table, unreadable: pa.Table, ignored: Mapping[str, Ignored]) -> Accounting:
    """Count the files that the tables name. A file that a reader lost, or that has two places, breaks the balance."""
    read = set(reports.column("origin_file").to_pylist())
    quarantined = set(unreadable.column("origin_file").to_pylist()) - {WHOLE_FOLDER} - read
    return Accounting(files, len(read), len(quarantined), len(ignored))


def count_by_reason(ignored: Mapping[str, Ignored]) -> dict[str, int]:
    return dict(sorted(Counter(why.value for why in ignored.values()).items()))


class ChangedBatchError(FineTuneError):
    """What was read of a batch is not the version that was asked for."""


def read_version(
    folder: Path,
    batch: str,
    patient_secret: bytes,
    limits: ReadLimits,
    version: str | None,
    erased: Collection[str],
) -> BatchReading:
    """Read a batch folder, and take it only if it held just this version (None: any).

    Reports of the patients whose keys are `erased` are not taken: each is a row of `unreadable_reports`.

    Raises ChangedBatchError if it did not, and BatchFolderError if there is no folder to be listed in this very version.
    """
    try:
        reading = read_batch(folder, batch, patient_secret, limits, erased=erased)
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


def read_batch(
    folder: Path,
    batch: str,
    patient_secret: bytes,
    limits: ReadLimits,
    documents: ReadDocument | None = None,
    erased: Collection[str] = (),
    files: BatchFiles | None = None,
) -> BatchReading:
    """Read every file of a batch folder, in the order of their names. Raises BatchFolderError.

    `documents` reads PDF and the like; None: in a process of its own, with the OCR program that is installed. `files` as they
    were listed before, None for those of now: one that is gone by now is reported as vanished.
    """
    contents = BatchContents(folder, list_files(folder) if files is None else files)
    isolated = IsolatedDocuments(limits, find_ocr()) if documents is None else nullcontext(documents)
    with isolated as read_document:
        reader = BatchReader(limits, read_document)
        try:
            about = read_batch_file(contents)
            outcomes = list(reader.read(contents, about))
        except UnreadableError as error:
            about = BatchFile()
            outcomes = reader.refuse(contents, Path(BATCH_FILE), error)
        keys = keys_of_outcomes(outcomes, patient_secret, batch, about.source)
        reports: list[dict[str, Any]] = []
        unreadable: list[dict[str, Any]] = []
        for outcome in _without_repeated_ids(_without_erased(outcomes, keys, erased)):
            if isinstance(outcome.came, ReadReport):
                reports.append(_report_row(outcome.came, outcome.path, batch, about.source, keys))
            else:
                unreadable.append(_unreadable_row(outcome, outcome.came, batch))
    if not reports and not unreadable:
        nothing = UnreadableError(Reason.NO_REPORTS, "The folder holds no file to read.")
        unreadable.append(_unreadable_row(Outcome(Path(WHOLE_FOLDER), None, nothing, None), nothing, batch))
    return BatchReading(
        reports=table_of(reports, Report.SCHEMA),
        unreadable=table_of(unreadable, UnreadableReport.SCHEMA),
        files=reader.files,
        ignored={shown_path(path): why for path, why in reader.ignored.items()},
        version=contents.version(),
    )


def _without_repeated_ids(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    seen: set[str] = set()
    for outcome in outcomes:
        if isinstance(outcome.came, ReadReport) and outcome.came.local_id in seen:
            repeated = UnreadableError(Reason.DUPLICATE_ID, "Another report of the batch has its id already.")
            yield Outcome(outcome.path, outcome.record, repeated, outcome.size_bytes)
        else:
            seen |= {outcome.came.local_id} if isinstance(outcome.came, ReadReport) else set()
            yield outcome


def _without_erased(outcomes: Iterable[Outcome], keys: SubjectKeys, erased: Collection[str]) -> Iterator[Outcome]:
    """Refuse the reports of erased patients, and say where they lie: whoever sends them can leave them out."""
    for outcome in outcomes:
        if isinstance(outcome.came, ReadReport) and keys.is_erased(outcome.came.patient, erased):
            refused = UnreadableError(Reason.ERASED_PATIENT, "Its patient was erased. Remove it from the batch folder.")
            yield Outcome(outcome.path, outcome.record, refused, outcome.size_bytes)
        else:
            yield outcome


def _report_row(report: ReadReport, path: Path, batch: str, source: str, keys: SubjectKeys) -> dict[str, Any]:
    # Else a name that the metadata writes in one form of Unicode is not found where the text has it in the other.
    text = composed(report.text)
    return {
        "report_id": f"{batch}/{report.local_id}",
        "batch": batch,
        "source": source,
        "patient_key": keys.key_of(report.patient),
        "text": text,
        "known_identifiers": [{"kind": i.kind.value, "value": composed(i.value)} for i in report.identifiers],
        "origin_file": shown_path(path),
        "written_on": report.written_on,
        "fingerprint": fingerprint_text(text),
    }


def _unreadable_row(outcome: Outcome, error: UnreadableError, batch: str) -> dict[str, Any]:
    return {
        "batch": batch,
        "origin_file": shown_path(outcome.path),
        "record": outcome.record,
        "reason": error.reason.value,
        "detail": error.detail,
        "size_bytes": outcome.size_bytes,
    }
