"""The raw files of a batch in which one patient has reports: which hold nobody else, and may go.

Owns the answer and the removal. It reads the batch anew: a table knows what a file held when it was read, not what it holds now.
A file that holds anybody else, or anything that could not be read, is never touched: it is named, for people to repair.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_file import read_batch_file
from fine_tune_assets.reports.batches import Ignored, fingerprint_batch, list_files, shown_path
from fine_tune_assets.reports.contents import BatchContents
from fine_tune_assets.reports.dispatch import BatchReader, Outcome
from fine_tune_assets.reports.facts import ReadDocument
from fine_tune_assets.reports.formats.fhir import FHIR_FORMATS
from fine_tune_assets.reports.identifiers import ReadReport
from fine_tune_assets.reports.isolation import IsolatedDocuments
from fine_tune_assets.reports.ocr import find_ocr
from fine_tune_assets.reports.sample_reports import SubjectKeys, keys_of_outcomes
from fine_tune_assets.reports.unreadable_files import UnreadableError

_OF_NO_REPORT = frozenset({Ignored.ARCHIVE, Ignored.SIDECAR})
"""Entries of an archive that are accounted for by the reports in it."""


class ChangedMeanwhileError(FineTuneError):
    """A batch folder was written to while it was looked through."""


@dataclass(frozen=True)
class SharedFile:
    """A file that holds the patient and more. People have to take the patient out of it."""

    batch: str
    file: str
    """In the batch folder; an entry of an archive as `archive.zip/entry`."""
    records: tuple[int, ...]
    """Rows, lines, messages or resources of the patient, from 1; empty where the file is one report."""


@dataclass(frozen=True)
class PatientFiles:
    own: tuple[Path, ...]
    """Files, with their sidecars, that hold reports of this patient only."""
    shared: tuple[SharedFile, ...]
    to_look_at: tuple[str, ...]
    """FHIR files that reports of the batch refer to, `batch/file`: they may hold who the patient is."""


def patient_files(
    folder: Path, secret: bytes, key: str, limits: ReadLimits, read_document: ReadDocument
) -> PatientFiles:
    """Look through a batch folder. Raises BatchFolderError, UnreadableError, ChangedMeanwhileError."""
    before = fingerprint_batch(folder)
    contents = BatchContents(folder, list_files(folder))
    reader = BatchReader(limits, read_document)
    about = read_batch_file(contents)
    by_file: dict[Path, list[Outcome]] = defaultdict(list)
    for outcome in reader.read(contents, about):
        by_file[_file_of(outcome.path, contents)].append(outcome)
    keys = keys_of_outcomes(chain(*by_file.values()), secret, folder.name, about.source)
    if fingerprint_batch(folder) != before or contents.version() != before:
        raise ChangedMeanwhileError(f"Batch {folder.name} was written to meanwhile. Erase again once that is over.")
    own: list[Path] = []
    shared: list[SharedFile] = []
    for path, outcomes in by_file.items():
        of_patient = [o for o in outcomes if _is_of(o, keys, key)]
        if of_patient and len(of_patient) == len(outcomes) and not _may_hold_more(path, reader):
            own += [folder / path, *(folder / sidecar for sidecar in _own_sidecars(path, contents))]
        elif of_patient:
            shared += _shared(folder.name, of_patient)
    resources = [path for path, why in reader.ignored.items() if why is Ignored.RESOURCES]
    is_there = bool(own or shared)
    return PatientFiles(
        tuple(own), tuple(shared), tuple(f"{folder.name}/{shown_path(p)}" for p in resources) if is_there else ()
    )


def files_of_batches(
    folders: list[Path], secret: bytes, key: str, limits: ReadLimits
) -> tuple[PatientFiles, list[str]]:
    """The same of several batches, and what could not be looked through, in words."""
    found: list[PatientFiles] = []
    faults: list[str] = []
    with IsolatedDocuments(limits, find_ocr()) as read_document:
        for folder in folders:
            try:
                found.append(patient_files(folder, secret, key, limits, read_document))
            except FineTuneError as error:
                faults.append(str(error))
            except UnreadableError as error:
                faults.append(f"Batch {folder.name} can't be looked through: {error.detail}")
    own = tuple(path for files in found for path in files.own)
    shared = tuple(file for files in found for file in files.shared)
    return PatientFiles(own, shared, tuple(name for files in found for name in files.to_look_at)), faults


def _file_of(path: Path, contents: BatchContents) -> Path:
    """The file in the batch folder: of an entry, the archive that it lies in."""
    return next(p for p in (path, *path.parents) if p in contents.files.to_read)


def _own_sidecars(path: Path, contents: BatchContents) -> list[Path]:
    """The file's sidecar, unless another file has the same one: `scan.txt` and `scan.pdf`."""
    sidecar = contents.files.sidecar_of(path)
    others = [p for p in contents.files.to_read if p != path and contents.files.sidecar_of(p) == sidecar]
    return [] if sidecar is None or others else [sidecar]


def _is_of(outcome: Outcome, keys: SubjectKeys, key: str) -> bool:
    return isinstance(outcome.came, ReadReport) and keys.key_of(outcome.came.patient) == key


def _may_hold_more(path: Path, reader: BatchReader) -> bool:
    """Whether there is more in it than its reports: FHIR resources that reports elsewhere refer to, or entries of an archive
    that nobody looked into."""
    unseen = [entry for entry, why in reader.ignored.items() if why not in _OF_NO_REPORT and path in entry.parents]
    return path.suffix.lower() in FHIR_FORMATS or bool(unseen)


def _shared(batch: str, outcomes: list[Outcome]) -> list[SharedFile]:
    records: dict[str, list[int]] = defaultdict(list)
    for outcome in outcomes:
        records[shown_path(outcome.path)] += [] if outcome.record is None else [outcome.record]
    return [SharedFile(batch, file, tuple(found)) for file, found in records.items()]
