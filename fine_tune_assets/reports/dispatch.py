"""Which reader reads which file, and what every report has in common once it is read.

Owns the list of formats, the order of the files, sidecars, archives within a batch, and the gates that all formats share:
a patient, a usable id, no changed numbers, no text that is too long. Does not know what is in a file.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.reports.archives import ArchiveContents, ReadLimits
from fine_tune_assets.reports.batch_file import BatchFile
from fine_tune_assets.reports.batches import Ignored, shown_path
from fine_tune_assets.reports.contents import Contents, decode
from fine_tune_assets.reports.facts import BadFactsError, Facts, Findings, Found, ReadDocument, parse_facts
from fine_tune_assets.reports.fidelity import differences
from fine_tune_assets.reports.formats.fhir import FHIR_FORMATS, FhirFolder
from fine_tune_assets.reports.formats.hl7_v2 import is_hl7, read_hl7
from fine_tune_assets.reports.formats.registry import KIND_OF_ENDING
from fine_tune_assets.reports.identifiers import ReadReport, checked_id, patient_of
from fine_tune_assets.reports.text_files import read_records, read_text_report
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

TEXT_FORMATS = (".txt", ".md")
RECORD_FORMATS = (".csv", ".jsonl")
HL7_FORMATS = (".hl7",)
ARCHIVE_FORMATS = (".zip",)
FORMATS = (*TEXT_FORMATS, *RECORD_FORMATS, *KIND_OF_ENDING, *HL7_FORMATS, *FHIR_FORMATS, *ARCHIVE_FORMATS)
_LARGEST_SIDECAR_BYTES = 1_000_000


@dataclass(frozen=True)
class Outcome:
    path: Path
    """In the batch; of an entry of an archive with the archive's name before it."""
    record: int | None
    """Number in the file for one of several."""
    came: ReadReport | UnreadableError
    size_bytes: int | None


class BatchReader:
    """Reads the files of one batch, archives included, and counts them."""

    def __init__(self, limits: ReadLimits, read_document: ReadDocument) -> None:
        self._limits = limits
        self._read_document = read_document
        self.files = 0
        self.ignored: dict[Path, Ignored] = {}

    def read(self, contents: Contents, about: BatchFile) -> Iterator[Outcome]:
        """What came of every file, in the order of their names."""
        yield from self._read_all(contents, Path(), about, 0)

    def refuse(self, contents: Contents, first: Path, error: UnreadableError) -> list[Outcome]:
        """Every file that would be read is refused for the same reason, and the file that gave it."""
        self.files += contents.files.count
        self.ignored |= {path: why for path, why in contents.files.ignored.items() if path != first}
        return [Outcome(path, None, error, contents.size(path)) for path in (first, *contents.files.to_read)]

    def _read_all(self, contents: Contents, place: Path, about: BatchFile, depth: int) -> Iterator[Outcome]:
        self.files += contents.files.count
        self.ignored |= {place / path: why for path, why in contents.files.ignored.items()}
        fhir = FhirFolder(contents, self._limits.largest_file_bytes, self._read_document)
        for path in contents.files.to_read:
            try:
                if path.suffix.lower() in ARCHIVE_FORMATS:
                    yield from self._read_archive(contents, path, place, about, depth)
                else:
                    yield from self._read_file(contents, path, place, about, fhir)
            except UnreadableError as error:
                yield Outcome(place / path, None, error, contents.size(path))

    def _read_archive(
        self, contents: Contents, path: Path, place: Path, about: BatchFile, depth: int
    ) -> Iterator[Outcome]:
        if depth == self._limits.archives.deepest:
            raise UnreadableError(Reason.UNSAFE_ARCHIVE, f"It lies in {depth} archives. Unpack the outer ones.")
        content = contents.read(path, self._limits.largest_file_bytes)
        inner = ArchiveContents(content, self._limits.archives)
        self.ignored[place / path] = Ignored.ARCHIVE
        yield from self._read_all(inner, place / path, about, depth + 1)

    def _read_file(
        self, contents: Contents, path: Path, place: Path, about: BatchFile, fhir: FhirFolder
    ) -> Iterator[Outcome]:
        facts = self._sidecar_facts(contents, path)
        is_empty = True
        for record, found in _guarded(self._find(contents, path, about, fhir)):
            is_empty = False
            yield Outcome(
                place / path, record, self._finish(found, place / path, record, facts, about), contents.size(path)
            )
        if is_empty:
            if not fhir.is_resources_only(path):
                raise UnreadableError(Reason.EMPTY, "There is no report in it.")
            self.ignored[place / path] = Ignored.RESOURCES

    def _find(self, contents: Contents, path: Path, about: BatchFile, fhir: FhirFolder) -> Findings:
        suffix = path.suffix.lower()
        if suffix not in FORMATS:
            raise UnreadableError(
                Reason.UNSUPPORTED_FORMAT, f"Only {', '.join(FORMATS)} are read. Export it as one of them."
            )
        content = contents.read(path, self._limits.largest_file_bytes)
        if suffix in HL7_FORMATS or (suffix in TEXT_FORMATS and is_hl7(content)):
            yield from read_hl7(content, self._read_document)
        elif suffix in FHIR_FORMATS:
            yield from fhir.read(path, content)
        elif suffix in RECORD_FORMATS:
            if about.records is None:
                raise UnreadableError(
                    Reason.BAD_BATCH_FILE, "batch.yaml has no `records` that say which column is what."
                )
            yield from read_records(content, suffix, about.records)
        elif suffix in TEXT_FORMATS:
            yield None, read_text_report(content)
        else:
            yield None, self._read_document(KIND_OF_ENDING[suffix], content)

    def _sidecar_facts(self, contents: Contents, path: Path) -> Facts:
        sidecar = contents.files.sidecar_of(path)
        if sidecar is None:
            return Facts()
        try:
            return parse_facts(decode(contents.read(sidecar, _LARGEST_SIDECAR_BYTES)))
        except BadFactsError as error:
            raise UnreadableError(Reason.BAD_SIDECAR, f"The YAML file beside it can't be used. {error}") from error
        except UnreadableError as error:
            raise UnreadableError(Reason.BAD_SIDECAR, f"The YAML file beside it: {error.detail}") from error

    def _finish(
        self, found: Found | UnreadableError, path: Path, record: int | None, sidecar: Facts, about: BatchFile
    ) -> ReadReport | UnreadableError:
        if isinstance(found, UnreadableError):
            return found
        try:
            facts = found.facts.completed_by(sidecar).completed_by(about.facts)
            return report_of(dataclasses.replace(found, facts=facts), path, record, self._limits)
        except UnreadableError as error:
            return error


def _guarded(findings: Findings) -> Findings:
    """What a reader did not foresee in a file costs that file, not its batch. The error's message may quote the file."""
    try:
        yield from findings
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UnreadableError(
            Reason.CORRUPT_FILE, f"It is not built as its reader expects ({type(error).__name__}). Export it again."
        ) from error


def report_of(found: Found, path: Path, record: int | None, limits: ReadLimits) -> ReadReport:
    """The report, once it has passed the gates that all formats share. Raises UnreadableError."""
    text = found.text.strip() + "\n"
    if not text.strip():
        raise UnreadableError(Reason.EMPTY, "There is no text in it.")
    if len(text) > limits.longest_report_characters:
        most = limits.longest_report_characters
        raise UnreadableError(
            Reason.TOO_LONG, f"Its text has more than {most} characters. Split it into several reports."
        )
    require_unchanged(found.evidence, text, found.is_all_evidence)
    own_id = shown_path(path.with_suffix("")) + ("" if record is None else f"-{record}")
    return ReadReport(
        checked_id(found.facts.report_id or own_id),
        patient_of(found.facts.patient_id, found.facts.patient_name),
        text,
        found.facts.identifiers,
        found.facts.written_on,
    )


def require_unchanged(evidence: str | None, text: str, is_all_evidence: bool) -> None:
    """Raise UnreadableError if a number, unit, side or negation is not the same in the file and in the text."""
    found = {} if evidence is None else differences(evidence, text, is_all_evidence)
    if found:
        counts = ", ".join(f"{kind} {count}" for kind, count in found.items())
        raise UnreadableError(
            Reason.NUMBERS_CHANGED,
            f"What was read is not what stands in the file ({counts}). Export it in another format, such as text.",
        )
