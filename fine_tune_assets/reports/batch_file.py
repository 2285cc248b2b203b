"""`batch.yaml`: what a batch folder says about its own files.

Owns its keys and how it is checked. Keys are explained for people in data/README.md.
"""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from fine_tune_assets.core.strict_parsing import load_texts, load_values
from fine_tune_assets.reports.batches import BATCH_FILE
from fine_tune_assets.reports.contents import BatchContents
from fine_tune_assets.reports.facts import BadFactsError, Facts, facts_of
from fine_tune_assets.reports.identifiers import Kind
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_STRICT = ConfigDict(extra="forbid")
_LARGEST_BYTES = 1_000_000
Column = Annotated[str, Field(min_length=1, strict=True)]
Heading = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\r\n]+$", strict=True)]


@dataclass(frozen=True, config=_STRICT)
class RecordColumns:
    """Which column of a CSV or JSONL file is what."""

    patient_id: Column
    sections: Annotated[dict[Column, Heading], Field(min_length=1)]
    report_id: Column | None = None
    identifiers: dict[Column, Kind] = field(default_factory=dict)
    written_on: Column | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        optional = (self.report_id, self.written_on)
        named = [*(c for c in optional if c is not None), self.patient_id, *self.sections, *self.identifiers]
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True, config=_STRICT)
class BatchFile:
    source: Annotated[str, Field(min_length=1, max_length=100, strict=True)] = "unknown"
    records: RecordColumns | None = None
    facts: Facts = Facts()
    """What is true of every report of the batch that does not say otherwise itself."""


def read_batch_file(contents: BatchContents) -> BatchFile:
    """The checked content of `batch.yaml`; the defaults if none was listed. Raises UnreadableError."""
    if Path(BATCH_FILE) not in contents.files.ignored:
        return BatchFile()
    try:
        text = contents.read(Path(BATCH_FILE), _LARGEST_BYTES).decode("utf-8")
        # Facts as they are written: the patient 0123 is not the octal number 83.
        values, as_written = load_values(text), load_texts(text)
    except UnreadableError as error:
        raise _bad(f"batch.yaml: {error.detail}") from error
    except (UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise _bad("batch.yaml is not valid YAML in UTF-8, or names a key twice. Repair it.") from error
    return parse_batch_file(values, as_written)


def parse_batch_file(values: Any, as_written: Any) -> BatchFile:
    """Check what a batch file says. Raises UnreadableError that names the places, not the values, that are wrong."""
    if not isinstance(values, dict) or not isinstance(as_written, dict):
        raise _bad("batch.yaml must hold keys and values. Known keys: source, records, facts.")
    try:
        facts = facts_of(as_written.get("facts") or {})
        if facts.report_id:
            raise BadFactsError("A report_id can't be that of all.")
        values = {**values, **({"facts": facts} if "facts" in values else {})}
        return TypeAdapter(BatchFile).validate_python(values)
    except BadFactsError as error:
        raise _bad(f"batch.yaml: facts: {error}") from error
    except ValidationError as error:
        faults = "; ".join(dict.fromkeys(_fault(e["loc"], e["type"]) for e in error.errors()))
        raise _bad(f"batch.yaml: {faults}. Its keys are explained in data/README.md.") from error


# Only keys that this project defines are repeated: whatever else stands in the file could be anything.
_KNOWN = {"source", "records", "patient_id", "report_id", "identifiers", "sections", "written_on"}


def _fault(place: tuple[int | str, ...], kind: str) -> str:
    known = ".".join(str(part) for part in place if part in _KNOWN) or "top level"
    what = {"unexpected_keyword_argument": "unknown key", "missing": "missing", "enum": "unknown kind"}
    return f"{known}: {what.get(kind, 'wrong value')}"


def _bad(detail: str) -> UnreadableError:
    return UnreadableError(Reason.BAD_BATCH_FILE, detail)
