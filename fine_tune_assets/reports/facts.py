"""What is known about a report beside its text (its patient, its id, its identifiers), and what a reader of a format found.

Owns the records that every reader returns, the keys in which people state facts (front matter, a sidecar file, `facts` in
batch.yaml; explained in data/README.md), and how the facts of one report from several places are joined.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import yaml

from fine_tune_assets.core.strict_parsing import load_texts
from fine_tune_assets.quantities.metadata_dates import first_day
from fine_tune_assets.reports.identifiers import Identifier, Kind, values_of
from fine_tune_assets.reports.unreadable_files import UnreadableError

_REPORT_ID = "report_id"
_OTHERS = "identifiers"
KIND_OF_KEY = {
    "patient_id": Kind.ID,
    "patient_name": Kind.NAME,
    "physician": Kind.NAME,
    "relative": Kind.NAME,
    "age": Kind.AGE,
    "birth_date": Kind.DATE,
    "report_date": Kind.DATE,
    "visit_date": Kind.DATE,
    "admission_date": Kind.DATE,
    "discharge_date": Kind.DATE,
    "address": Kind.ADDRESS,
    "phone": Kind.PHONE,
    "email": Kind.EMAIL,
    "facility": Kind.FACILITY,
}
_WRITTEN = ("report_date", "discharge_date", "visit_date", "admission_date")
"""The keys that can tell when a report was written, the surest first."""
KEYS = frozenset({*KIND_OF_KEY, _REPORT_ID, _OTHERS})


class BadFactsError(ValueError):
    """Facts that can't be used. Its message names keys of this project only, never what stands in the file."""


@dataclass(frozen=True)
class Facts:
    patient_id: str = ""
    patient_name: str = ""
    report_id: str = ""
    identifiers: tuple[Identifier, ...] = ()
    written_on: date | None = None
    """The day on which it was written, where that is stated."""

    def completed_by(self, other: "Facts") -> "Facts":
        """The facts of both. Who the patient is says the first that knows one: an id here and a name there may differ."""
        patient = self if self.patient_id or self.patient_name else other
        return Facts(
            patient.patient_id,
            patient.patient_name,
            self.report_id or other.report_id,
            distinct([*self.identifiers, *other.identifiers]),
            self.written_on or other.written_on,
        )


NO_FACTS = Facts()


_PLACEHOLDERS = frozenset(
    {"unknown", "none", "null", "nil", "na", "n/a", "unspecified", "undefined", "not", "available"}
)


def distinct(identifiers: Iterable[Identifier]) -> tuple[Identifier, ...]:
    """Each identifier once, in their order; without words by which systems fill a field that nobody filled.

    A patient called Unknown would take that word out of every finding.
    """
    stated = dict.fromkeys(identifiers)
    return tuple(i for i in stated if not set(i.value.casefold().split()) <= _PLACEHOLDERS)


def parse_facts(text: str) -> Facts:
    """Facts written in YAML, every value as it stands there. Raises BadFactsError."""
    try:
        values = load_texts(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadFactsError("It is not valid YAML, or names a key twice.") from error
    return facts_of({} if values is None else values)


def facts_of(values: Any) -> Facts:
    """Facts from keys and values. Raises BadFactsError."""
    if not isinstance(values, dict) or not set(values) <= KEYS:
        raise BadFactsError(f"Known keys: {', '.join(sorted(KEYS))}.")
    try:
        first = {key: next(iter(values_of(values.get(key))), "") for key in ("patient_id", "patient_name", _REPORT_ID)}
        written = first_day(text for key in _WRITTEN for text in values_of(values.get(key)))
        return Facts(**first, identifiers=_identifiers_of(values), written_on=written)
    except ValueError as error:
        raise BadFactsError("A value in it is not a plain value, a list of plain values, or a known kind.") from error


def _identifiers_of(values: Mapping[str, Any]) -> tuple[Identifier, ...]:
    others = values.get(_OTHERS) or {}
    if not isinstance(others, dict):
        raise ValueError("not a mapping")
    stated = [(KIND_OF_KEY[key], value) for key, value in values.items() if key in KIND_OF_KEY]
    stated += [(Kind(kind), value) for kind, value in others.items()]
    return tuple(Identifier(kind, text) for kind, value in stated for text in values_of(value))


@dataclass(frozen=True)
class Found:
    """One report in a file."""

    text: str
    facts: Facts = NO_FACTS
    evidence: str | None = None
    """The same text by another route than the reader's, to compare the two; None where there is no other route."""
    is_all_evidence: bool = True
    """False: the text rightly holds more than the evidence, such as names of results or pages that were scanned."""


Finding = tuple[int | None, Found | UnreadableError]
"""Number of the report in its file from 1 (None: the file is one report), and the report or why it can't be read."""
ReadDocument = Callable[[str, bytes], Found]
"""Reads a document (`pdf`, `docx`, `rtf`, `html`, `ccda` or `text`) that is one report. Raises UnreadableError."""
Findings = Iterator[Finding]
