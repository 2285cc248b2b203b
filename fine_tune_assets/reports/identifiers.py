"""The identifiers that a report's own metadata states, and the key that stands for its patient.

Owns the kinds of identifiers and how values are brought to text. Does not look into the report's text.
"""

import datetime
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_LONGEST_ID = 200
_FIRST_INEXACT = 2.0**53
"""From here on a float no longer stands for one whole number."""


class Kind(StrEnum):
    """What a known identifier is. The scrubber replaces it by this word."""

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
    kind: Kind
    value: str


@dataclass(frozen=True)
class ReadReport:
    """One report as it was read, before it gets its place in the batch."""

    local_id: str
    patient: str
    text: str
    identifiers: tuple[Identifier, ...]
    written_on: datetime.date | None = None


def patient_key(secret: bytes, patient: str) -> str:
    return keyed_hash(secret, patient)


def patient_of(patient_id: str, patient_name: str) -> str:
    """What the patient's key is made from: the id, else the name without case and spacing. Raises UnreadableError."""
    patient = composed(patient_id) or " ".join(unicodedata.normalize("NFKC", patient_name).casefold().split())
    if not patient:
        raise UnreadableError(
            Reason.NO_PATIENT, "It names no patient. Add patient_id, so that a patient's reports stay together."
        )
    return patient


def composed(text: str) -> str:
    """The text in Unicode's form NFC: é as one character, as most systems write it, and not as e and an accent."""
    return unicodedata.normalize("NFC", text)


def values_of(value: Any) -> tuple[str, ...]:
    """The value, or each value of a list, as text; absent and blank ones are left out. Raises ValueError for others."""
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(text for item in value for text in _one_level(item))
    return _one_level(value)


def id_of(value: Any) -> str:
    """The value, or the first of a list, as an id; empty if there is none. Raises ValueError for a number that is no id."""
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, float) and not _is_whole(item) for item in values):
        raise ValueError("a fraction, or a number too large to be exact")
    return next(iter(values_of(value)), "")


def _is_whole(number: float) -> bool:
    return number.is_integer() and abs(number) < _FIRST_INEXACT


def _one_level(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, bool) or not isinstance(value, str | int | float | datetime.date):
        raise ValueError("not a plain value")
    if isinstance(value, float) and _is_whole(value):
        value = int(value)  # a table with an empty cell is often exported with 4711.0 for 4711: the same patient
    text = " ".join(str(value).split())
    text.encode("utf-8")  # a lone surrogate from JSON can't be stored: UnicodeEncodeError is a ValueError
    return (text,) if text else ()


def checked_id(local_id: str) -> str:
    """A report's id is shown in logs and becomes part of file names. Raises UnreadableError if it can't be one."""
    if not local_id or len(local_id) > _LONGEST_ID or not local_id.isprintable():
        raise UnreadableError(Reason.BAD_ID, f"Its id must have 1 to {_LONGEST_ID} printable characters on one line.")
    return local_id
