"""A report's metadata (subject, id, identifiers) and the records that format readers return.

Parses the metadata keys of front matter, sidecar files and batch.yaml (documented in data/README.md), and merges them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Self

import yaml

from fine_tune_assets.core.strict_parsing import load_texts
from fine_tune_assets.quantities.metadata_dates import read_first_day
from fine_tune_assets.reports.heading_marks import MarkedLine, mark_lines, take_headings
from fine_tune_assets.reports.stated_identifiers import Identifier, IdentifierKind, read_kind, read_values
from fine_tune_assets.reports.unreadable_files import UnreadableError

_REPORT_ID = "report_id"
_IDENTIFIERS = "identifiers"
KIND_BY_KEY = {
    "subject_id": IdentifierKind.ID,
    "subject_name": IdentifierKind.NAME,
    "physician": IdentifierKind.NAME,
    "relative": IdentifierKind.NAME,
    "age": IdentifierKind.AGE,
    "birth_date": IdentifierKind.DATE,
    "report_date": IdentifierKind.DATE,
    "visit_date": IdentifierKind.DATE,
    "admission_date": IdentifierKind.DATE,
    "discharge_date": IdentifierKind.DATE,
    "address": IdentifierKind.ADDRESS,
    "phone": IdentifierKind.PHONE,
    "email": IdentifierKind.EMAIL,
    "facility": IdentifierKind.FACILITY,
}
_WRITTEN_ON_KEYS = ("report_date", "discharge_date", "visit_date", "admission_date")
"""Keys that state when a report was written, most reliable first."""
METADATA_KEYS = frozenset({*KIND_BY_KEY, _REPORT_ID, _IDENTIFIERS})


class MetadataError(ValueError):
    """Metadata is invalid. The message names only keys that this project defines, never file content."""


@dataclass(frozen=True)
class ReportMetadata:
    subject_id: str = ""
    subject_name: str = ""
    report_id: str = ""
    identifiers: tuple[Identifier, ...] = ()
    written_on: date | None = None

    def merge(self, other: "ReportMetadata") -> "ReportMetadata":
        """Combine both. The subject comes from the first that states one: its id and the other's name may not match."""
        subject = self if self.subject_id or self.subject_name else other
        return ReportMetadata(
            subject.subject_id,
            subject.subject_name,
            self.report_id or other.report_id,
            deduplicate_identifiers([*self.identifiers, *other.identifiers]),
            self.written_on or other.written_on,
        )


EMPTY_METADATA = ReportMetadata()


_FILLER_WORDS = frozenset(
    {"unknown", "none", "null", "nil", "na", "n/a", "unspecified", "undefined", "not", "available"}
)


def deduplicate_identifiers(identifiers: Iterable[Identifier]) -> tuple[Identifier, ...]:
    """Drop repeated identifiers, and placeholder words that systems write into empty fields.

    A subject named "Unknown" would remove that word from every finding.
    """
    stated = dict.fromkeys(identifiers)
    return tuple(i for i in stated if not set(i.value.casefold().split()) <= _FILLER_WORDS)


def parse_metadata(text: str) -> ReportMetadata:
    """Parse YAML metadata; values stay as written. Raises MetadataError."""
    try:
        values = load_texts(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MetadataError("The metadata is not valid YAML, or repeats a key.") from error
    return metadata_from_values({} if values is None else values)


def metadata_from_values(values: Any) -> ReportMetadata:
    """Raises MetadataError."""
    if not isinstance(values, dict) or not set(values) <= METADATA_KEYS:
        raise MetadataError(f"Known keys: {', '.join(sorted(METADATA_KEYS))}.")
    try:
        first = {
            key: next(iter(read_values(values.get(key))), "") for key in ("subject_id", "subject_name", _REPORT_ID)
        }
        written = read_first_day(text for key in _WRITTEN_ON_KEYS for text in read_values(values.get(key)))
        return ReportMetadata(**first, identifiers=_read_identifiers(values), written_on=written)
    except ValueError as error:
        raise MetadataError(
            "A value is neither a scalar nor a list of scalars, or an identifier kind is unknown."
        ) from error


def _read_identifiers(values: Mapping[str, Any]) -> tuple[Identifier, ...]:
    others = values.get(_IDENTIFIERS) or {}
    if not isinstance(others, dict):
        raise ValueError("not a mapping")
    stated: list[tuple[str, Any]] = [(KIND_BY_KEY[key], value) for key, value in values.items() if key in KIND_BY_KEY]
    stated += [(read_kind(kind), value) for kind, value in others.items()]
    return tuple(Identifier(kind, text) for kind, value in stated for text in read_values(value))


@dataclass(frozen=True)
class ParsedReport:
    text: str
    metadata: ReportMetadata = EMPTY_METADATA
    reference_text: str | None = None
    """The same text from an independent parser, for comparison; None if there is none."""
    is_reference_complete: bool = True
    """False if the text may contain more than the reference text, such as result names or OCR pages."""
    headings: tuple[MarkedLine, ...] = ()
    """Lines of the text that the format states to be headings."""

    @classmethod
    def from_marked(
        cls,
        marked: str,
        metadata: ReportMetadata = EMPTY_METADATA,
        reference_text: str | None = None,
        is_reference_complete: bool = True,
    ) -> Self:
        """A report whose text contains the marks of `heading_marks`."""
        text, headings = take_headings(marked)
        return cls(text, metadata, reference_text, is_reference_complete, headings)

    @property
    def marked_text(self) -> str:
        """The text with its headings marked, to be put into another text."""
        return mark_lines(self.text, self.headings)


ParsedRecord = tuple[int | None, ParsedReport | UnreadableError]
"""Number of the report in its file from 1 (None: the file is one report), and the report or the error."""
ReadDocument = Callable[[str, bytes], ParsedReport]
"""Reads a document (`pdf`, `docx`, `rtf`, `html`, `ccda` or `text`) as one report. Raises UnreadableError."""
ParsedRecords = Iterator[ParsedRecord]
