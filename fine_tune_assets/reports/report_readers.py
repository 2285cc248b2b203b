"""Chooses the reader for each file and applies the checks that all formats share.

A report needs a subject and a valid id, must not be too long, and must keep the numbers of its file. Sidecars and archives are
handled here too; the readers in formats/ see only bytes.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.reports.archives import ArchiveContents, ReadLimits
from fine_tune_assets.reports.batch_file import BatchFile
from fine_tune_assets.reports.batches import IgnoreReason, format_path
from fine_tune_assets.reports.fidelity import count_differences
from fine_tune_assets.reports.file_contents import Contents, decode_text
from fine_tune_assets.reports.formats.document_formats import KIND_BY_SUFFIX
from fine_tune_assets.reports.formats.fhir import FHIR_FORMATS, FhirFolder
from fine_tune_assets.reports.formats.hl7_v2 import is_hl7, read_hl7
from fine_tune_assets.reports.report_metadata import (
    MetadataError,
    ParsedRecords,
    ParsedReport,
    ReadDocument,
    ReportMetadata,
    parse_metadata,
)
from fine_tune_assets.reports.stated_identifiers import AcceptedReport, identify_subject, own_subject, validate_id
from fine_tune_assets.reports.text_files import read_records, read_text_report
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

MARKDOWN = ".md"
TEXT_FORMATS = (".txt", MARKDOWN)
RECORD_FORMATS = (".csv", ".jsonl")
HL7_FORMATS = (".hl7",)
ARCHIVE_FORMATS = (".zip",)
FORMATS = (*TEXT_FORMATS, *RECORD_FORMATS, *KIND_BY_SUFFIX, *HL7_FORMATS, *FHIR_FORMATS, *ARCHIVE_FORMATS)
_MAX_SIDECAR_BYTES = 1_000_000


@dataclass(frozen=True)
class RecordOutcome:
    path: Path
    """Path in the batch; an archive entry has the archive's path as prefix."""
    record: int | None
    """Number in the file, if the file contains several reports."""
    result: AcceptedReport | UnreadableError
    size_bytes: int | None


class BatchReader:
    """Reads and counts the files of a batch, including archive entries.

    If no subject is required, by the recipe or by `batch.yaml`, a report that names none is its own subject.
    """

    def __init__(
        self,
        limits: ReadLimits,
        read_document: ReadDocument,
        batch: str,
        *,
        is_subject_required: bool,
        start_file: Callable[[Path], None],
    ) -> None:
        """`start_file` is called before each file, also an archive's entry. It may raise UnreadableError."""
        self._limits, self._batch, self._is_subject_required = limits, batch, is_subject_required
        self._read_document, self._start_file = read_document, start_file
        self.files = 0
        """Entries of archives. The caller counts the files of the folder, and lists those that are ignored."""
        self.ignored: dict[Path, IgnoreReason] = {}

    def read_files(
        self, contents: Contents, batch_file: BatchFile, start: int = 0
    ) -> Iterator[tuple[int, Iterator[RecordOutcome]]]:
        """Number and outcomes of each file in name order, from number `start` on."""
        fhir = self._open_fhir(contents, Path())
        for number, path in enumerate(contents.files.readable[start:], start):
            yield number, self._read_path(contents, path, Path(), batch_file, fhir, 0)

    def _open_fhir(self, contents: Contents, place: Path) -> FhirFolder:
        return FhirFolder(
            contents, self._limits.max_file_bytes, self._read_document, lambda path: self._start_file(place / path)
        )

    def _read_path(
        self, contents: Contents, path: Path, place: Path, about: BatchFile, fhir: FhirFolder, depth: int
    ) -> Iterator[RecordOutcome]:
        try:
            self._start_file(place / path)
            if path.suffix.lower() in ARCHIVE_FORMATS:
                yield from self._read_archive(contents, path, place, about, depth)
            else:
                yield from self._read_file(contents, path, place, about, fhir)
        except UnreadableError as error:
            yield RecordOutcome(place / path, None, error, contents.size(path))

    def _read_archive(
        self, contents: Contents, path: Path, place: Path, about: BatchFile, depth: int
    ) -> Iterator[RecordOutcome]:
        if depth == self._limits.archives.max_depth:
            raise UnreadableError(
                UnreadableReason.UNSAFE_ARCHIVE,
                f"The archive is nested {depth} levels deep. Unpack the outer archives.",
            )
        content = contents.read(path, self._limits.max_file_bytes)
        inner = ArchiveContents(content, self._limits.archives)
        self.ignored[place / path] = IgnoreReason.ARCHIVE
        self.files += inner.files.count
        self.ignored |= {place / path / entry: reason for entry, reason in inner.files.ignored.items()}
        fhir = self._open_fhir(inner, place / path)
        for entry in inner.files.readable:
            yield from self._read_path(inner, entry, place / path, about, fhir, depth + 1)

    def _read_file(
        self, contents: Contents, path: Path, place: Path, about: BatchFile, fhir: FhirFolder
    ) -> Iterator[RecordOutcome]:
        facts = self._read_sidecar(contents, path, place)
        is_empty = True
        for record, found in _contain_reader_errors(self._parse_file(contents, path, about, fhir)):
            is_empty = False
            yield RecordOutcome(
                place / path, record, self._accept(found, place / path, record, facts, about), contents.size(path)
            )
        if is_empty:
            if not fhir.has_only_resources(path):
                raise UnreadableError(UnreadableReason.EMPTY, "The file contains no report.")
            self.ignored[place / path] = IgnoreReason.RESOURCES

    def _parse_file(self, contents: Contents, path: Path, about: BatchFile, fhir: FhirFolder) -> ParsedRecords:
        suffix = path.suffix.lower()
        if suffix not in FORMATS:
            raise UnreadableError(
                UnreadableReason.UNSUPPORTED_FORMAT,
                f"Unsupported format. Export the file as one of {', '.join(FORMATS)}.",
            )
        content = contents.read(path, self._limits.max_file_bytes)
        if suffix in HL7_FORMATS or (suffix in TEXT_FORMATS and is_hl7(content)):
            yield from read_hl7(content, self._read_document)
        elif suffix in FHIR_FORMATS:
            yield from fhir.read(path, content)
        elif suffix in RECORD_FORMATS:
            if about.records is None:
                raise UnreadableError(
                    UnreadableReason.BAD_BATCH_FILE,
                    "Add a batch.yaml whose `records` key maps the columns, with `subject_id` and `sections`: see data/README",
                )
            yield from read_records(content, suffix, about.records)
        elif suffix in TEXT_FORMATS:
            yield None, read_text_report(content, is_markdown=suffix == MARKDOWN)
        else:
            yield None, self._read_document(KIND_BY_SUFFIX[suffix], content)

    def _read_sidecar(self, contents: Contents, path: Path, place: Path) -> ReportMetadata:
        sidecar = contents.files.find_sidecar(path)
        if sidecar is None:
            return ReportMetadata()
        try:
            self._start_file(place / sidecar)
            metadata = parse_metadata(decode_text(contents.read(sidecar, _MAX_SIDECAR_BYTES)))
        except MetadataError as error:
            raise UnreadableError(UnreadableReason.BAD_SIDECAR, f"The sidecar YAML file is invalid. {error}") from error
        except UnreadableError as error:
            raise UnreadableError(UnreadableReason.BAD_SIDECAR, f"Sidecar YAML file: {error.detail}") from error
        self._start_file(place / path)
        return metadata

    def _accept(
        self,
        found: ParsedReport | UnreadableError,
        path: Path,
        record: int | None,
        sidecar: ReportMetadata,
        about: BatchFile,
    ) -> AcceptedReport | UnreadableError:
        if isinstance(found, UnreadableError):
            return found
        try:
            facts = found.metadata.merge(sidecar).merge(about.metadata)
            is_required = self._is_subject_required and about.reports_without_subject == "refuse"
            batch = None if is_required else self._batch
            return accept_report(dataclasses.replace(found, metadata=facts), path, record, self._limits, batch)
        except UnreadableError as error:
            return error


def _contain_reader_errors(findings: ParsedRecords) -> ParsedRecords:
    """Turn an unexpected reader error into an unreadable file, without its message, which may quote the file."""
    try:
        yield from findings
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UnreadableError(
            UnreadableReason.CORRUPT_FILE,
            f"The file structure is unexpected ({type(error).__name__}). Export it again.",
        ) from error
    except MemoryError as error:
        raise UnreadableError(
            UnreadableReason.READER_FAILED, "The reader ran out of memory. Split the file."
        ) from error


def reject_files(contents: Contents, first: Path, error: UnreadableError) -> list[RecordOutcome]:
    """The same error for every readable file and for the file that caused it."""
    return [RecordOutcome(path, None, error, contents.size(path)) for path in (first, *contents.files.readable)]


def accept_report(
    found: ParsedReport, path: Path, record: int | None, limits: ReadLimits, batch: str | None = None
) -> AcceptedReport:
    """Apply the checks that all formats share. Raises UnreadableError. `batch`: see BatchReader."""
    text = found.text.strip() + "\n"
    leading_lines = len(f"{found.text[: len(found.text) - len(found.text.lstrip())]}.".splitlines()) - 1
    if not text.strip():
        raise UnreadableError(UnreadableReason.EMPTY, "The report contains no text.")
    if len(text) > limits.max_report_characters:
        most = limits.max_report_characters
        raise UnreadableError(
            UnreadableReason.TOO_LONG, f"The text has more than {most} characters. Split it into several reports."
        )
    require_unchanged(found.reference_text, text, found.is_reference_complete)
    own_id = format_path(path.with_suffix("")) + ("" if record is None else f"-{record}")
    local_id = validate_id(found.metadata.report_id or own_id)
    return AcceptedReport(
        local_id,
        _identify_subject(found.metadata, local_id, batch),
        text,
        found.metadata.identifiers,
        found.metadata.written_on,
        tuple(dataclasses.replace(heading, line=heading.line - leading_lines) for heading in found.headings),
    )


def _identify_subject(metadata: ReportMetadata, local_id: str, batch: str | None) -> str:
    try:
        return identify_subject(metadata.subject_id, metadata.subject_name)
    except UnreadableError:
        if batch is None:
            raise
        return own_subject(f"{batch}/{local_id}")


def require_unchanged(reference_text: str | None, text: str, is_reference_complete: bool) -> None:
    """Raise UnreadableError if a number, unit, side or negation differs between file and text."""
    differences = {} if reference_text is None else count_differences(reference_text, text, is_reference_complete)
    if differences:
        counts = ", ".join(f"{kind} {count}" for kind, count in differences.items())
        raise UnreadableError(
            UnreadableReason.TEXT_MISMATCH,
            f"The extracted text differs from the file ({counts}). Export it in another format, such as text.",
        )
