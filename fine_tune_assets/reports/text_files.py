"""Reports that are a text file each: front matter in YAML between two `---` lines, then the report.

Owns the keys of the front matter; they are explained for people in data/README.md.
"""

from pathlib import Path
from typing import Any

import yaml

from fine_tune_assets.core.strict_yaml import load_texts
from fine_tune_assets.reports.batches import shown_path
from fine_tune_assets.reports.contents import decode
from fine_tune_assets.reports.identifiers import Identifier, Kind, ReadReport, checked_id, patient_of, values_of
from fine_tune_assets.reports.quarantine import Reason, UnreadableError

_FENCE = "---"
_REPORT_ID = "report_id"
_OTHERS = "identifiers"
KIND_OF_KEY = {
    "patient_id": Kind.ID,
    "patient_name": Kind.NAME,
    "physician": Kind.NAME,
    "relative": Kind.NAME,
    "age": Kind.AGE,
    "birth_date": Kind.DATE,
    "visit_date": Kind.DATE,
    "admission_date": Kind.DATE,
    "discharge_date": Kind.DATE,
    "address": Kind.ADDRESS,
    "phone": Kind.PHONE,
    "email": Kind.EMAIL,
    "facility": Kind.FACILITY,
}


def read_text_report(content: bytes, path: Path) -> ReadReport:
    """The report in a text file. Raises UnreadableError."""
    front_matter, text = split_front_matter(decode(content))
    if not text.strip():
        raise UnreadableError(Reason.EMPTY, "There is nothing below its front matter.")
    try:
        identifiers = identifiers_of(front_matter)
        own_id = "".join(values_of(front_matter.get(_REPORT_ID))[:1]) or shown_path(path.with_suffix(""))
    except ValueError as error:
        raise _bad("A value in it is not a plain value, a list of plain values, or a known kind.") from error
    first = {key: next(iter(values_of(front_matter.get(key))), "") for key in ("patient_id", "patient_name")}
    return ReadReport(checked_id(own_id), patient_of(**first), text.strip() + "\n", identifiers)


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The front matter, empty if there is none, and the rest. Raises UnreadableError."""
    first, _, rest = text.partition("\n")
    if first.rstrip() != _FENCE:
        return {}, text
    lines = rest.split("\n")
    end = next((number for number, line in enumerate(lines) if line.rstrip() == _FENCE), None)
    if end is None:
        raise _bad("Its front matter has no closing --- line.")
    try:
        values = load_texts("\n".join(lines[:end]))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _bad("It is not valid YAML, or names a key twice.") from error
    values = {} if values is None else values
    if not isinstance(values, dict) or not set(values) <= {*KIND_OF_KEY, _REPORT_ID, _OTHERS}:
        raise _bad(f"Known keys: {', '.join(sorted([*KIND_OF_KEY, _REPORT_ID, _OTHERS]))}.")
    return values, "\n".join(lines[end + 1 :])


def identifiers_of(front_matter: dict[str, Any]) -> tuple[Identifier, ...]:
    """Every identifier that the front matter states. Raises ValueError for a value or a kind that can't be used."""
    others = front_matter.get(_OTHERS) or {}
    if not isinstance(others, dict):
        raise ValueError("not a mapping")
    stated = [(KIND_OF_KEY[key], value) for key, value in front_matter.items() if key in KIND_OF_KEY]
    stated += [(Kind(kind), value) for kind, value in others.items()]
    return tuple(Identifier(kind, text) for kind, value in stated for text in values_of(value))


def _bad(detail: str) -> UnreadableError:
    return UnreadableError(Reason.BAD_FRONT_MATTER, f"The front matter can't be used. {detail}")
