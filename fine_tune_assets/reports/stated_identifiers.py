"""Identifiers stated in a report's metadata, and the subject key derived from them."""

import datetime
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.reports.heading_marks import MarkedLine
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_MAX_ID_CHARACTERS = 200
_PACK_KIND = re.compile(r"[A-Z][A-Z_]{1,29}", re.ASCII)
_FIRST_INEXACT_FLOAT = 2.0**53
"""From here on, a float no longer represents every integer exactly."""


class IdentifierKind(StrEnum):
    """Kind of a known identifier; the scrubber replaces the identifier with this word."""

    NAME = "name"
    ID = "id"
    DATE = "date"
    AGE = "age"
    PHONE = "phone"
    EMAIL = "email"
    ADDRESS = "address"
    FACILITY = "facility"
    URL = "url"


@dataclass(frozen=True)
class Identifier:
    kind: str
    """An IdentifierKind, or a kind in capitals that the scrubber or the domain pack has, such as `POLICY_NUMBER`."""
    value: str


def read_kind(written: Any) -> str:
    """The kind of identifier that metadata names, in any case. Raises ValueError if it can't be one.

    Whether the domain pack declares a kind in capitals is checked by `batch_reader`: the confined reader knows no domain.
    """
    if not isinstance(written, str):
        raise ValueError("not a text")
    if written.lower() in set(IdentifierKind):
        return written.lower()
    if _PACK_KIND.fullmatch(written.upper()) is None:
        raise ValueError("not a kind of identifier")
    return written.upper()


@dataclass(frozen=True)
class AcceptedReport:
    """A report that passed all checks, before it is assigned to its batch."""

    local_id: str
    subject: str
    text: str
    identifiers: tuple[Identifier, ...]
    written_on: datetime.date | None = None
    headings: tuple[MarkedLine, ...] = ()


def make_subject_key(secret: bytes, subject: str) -> str:
    return keyed_hash(secret, subject)


def identify_subject(subject_id: str, subject_name: str) -> str:
    """Return the id, or else the normalized name, from which the subject key is derived. Raises UnreadableError."""
    subject = normalize_unicode(subject_id) or " ".join(unicodedata.normalize("NFKC", subject_name).casefold().split())
    if not subject:
        raise UnreadableError(
            UnreadableReason.NO_SUBJECT,
            "The report has no subject. Add subject_id (a document's in a YAML file of the same name), which keeps a subject's "
            "reports together; or set reports_without_subject to allow in batch.yaml or the recipe.",
        )
    return subject


def own_subject(report_id: str) -> str:
    """The subject of a report that names none. No stated subject contains a line break, so none is equal."""
    return f"report\n{report_id}"


def normalize_unicode(text: str) -> str:
    """Normalize to NFC, the form that most systems write: é as one character, not e plus an accent."""
    return unicodedata.normalize("NFC", text)


def read_values(value: Any) -> tuple[str, ...]:
    """Return a scalar or list of scalars as texts, without blanks. Raises ValueError for other types."""
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(text for item in value for text in _read_plain_value(item))
    return _read_plain_value(value)


def read_id(value: Any) -> str:
    """Return the value, or the first of a list, as an id; empty if absent. Raises ValueError for a non-integer number."""
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, float) and not _is_whole_number(item) for item in values):
        raise ValueError("not an exact integer")
    return next(iter(read_values(value)), "")


def _is_whole_number(number: float) -> bool:
    return number.is_integer() and abs(number) < _FIRST_INEXACT_FLOAT


def _read_plain_value(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, bool) or not isinstance(value, str | int | float | datetime.date):
        raise ValueError("not a scalar")
    if isinstance(value, float) and _is_whole_number(value):
        value = int(value)  # columns with empty cells are often exported as floats: 4711.0 is the subject 4711
    text = " ".join(str(value).split())
    text.encode("utf-8")  # rejects lone surrogates from JSON: UnicodeEncodeError is a ValueError
    return (text,) if text else ()


def validate_id(local_id: str) -> str:
    """Check a report id, which appears in logs and file names. Raises UnreadableError."""
    if not local_id or len(local_id) > _MAX_ID_CHARACTERS or not local_id.isprintable():
        raise UnreadableError(
            UnreadableReason.BAD_ID,
            f"The report id must have 1 to {_MAX_ID_CHARACTERS} printable characters on one line.",
        )
    return local_id
