"""Parses and validates `batch.yaml`, which describes a batch folder. data/README.md documents its keys."""

from dataclasses import field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from fine_tune_assets.core.strict_parsing import load_texts, load_values
from fine_tune_assets.reports.batches import BATCH_FILE
from fine_tune_assets.reports.file_contents import Contents
from fine_tune_assets.reports.report_metadata import MetadataError, ReportMetadata, metadata_from_values
from fine_tune_assets.reports.stated_identifiers import read_kind
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_STRICT = ConfigDict(extra="forbid")
_MAX_BYTES = 1_000_000
Column = Annotated[str, Field(min_length=1, strict=True)]
Kind = Annotated[str, BeforeValidator(read_kind)]
Heading = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\r\n]+$", strict=True)]


@dataclass(frozen=True, config=_STRICT)
class RecordColumns:
    """Maps the columns of a CSV or JSONL file to report fields."""

    subject_id: Column
    sections: Annotated[dict[Column, Heading], Field(min_length=1)]
    report_id: Column | None = None
    identifiers: dict[Column, Kind] = field(default_factory=dict)
    written_on: Column | None = None

    @property
    def required_columns(self) -> tuple[str, ...]:
        optional = (self.report_id, self.written_on)
        named = [*(c for c in optional if c is not None), self.subject_id, *self.sections, *self.identifiers]
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True, config=_STRICT)
class BatchFile:
    source: Annotated[str, Field(min_length=1, max_length=100, strict=True)] = "unknown"
    records: RecordColumns | None = None
    metadata: ReportMetadata = ReportMetadata()
    """Defaults for every report of the batch; a report's own metadata takes precedence."""
    reports_without_subject: Literal["refuse", "allow"] = "refuse"
    """As in the recipe, for this batch alone: its documents are about no one."""


def read_batch_file(contents: Contents) -> BatchFile:
    """Return the validated `batch.yaml`, or the defaults if the batch has none. Raises UnreadableError."""
    if Path(BATCH_FILE) not in contents.files.ignored:
        return BatchFile()
    try:
        text = contents.read(Path(BATCH_FILE), _MAX_BYTES).decode("utf-8")
        # Metadata is read as text: the subject id 0123 is not the octal number 83.
        values, raw_values = load_values(text), load_texts(text)
    except UnreadableError as error:
        raise _batch_file_error(f"batch.yaml: {error.detail}") from error
    except (UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise _batch_file_error("batch.yaml is not valid UTF-8 YAML, or repeats a key.") from error
    return parse_batch_file(values, raw_values)


def parse_batch_file(values: Any, raw_values: Any) -> BatchFile:
    """Validate the content of a batch file. Raises UnreadableError, which names the wrong keys but never their values."""
    if not isinstance(values, dict) or not isinstance(raw_values, dict):
        raise _batch_file_error(
            "batch.yaml must be a mapping. Known keys: source, records, metadata, reports_without_subject."
        )
    try:
        metadata = metadata_from_values(raw_values.get("metadata") or {})
        if metadata.report_id:
            raise MetadataError("report_id can't be set for a whole batch.")
        values = {**values, **({"metadata": metadata} if "metadata" in values else {})}
        if "records" in values:
            values["records"] = _names_as_written(values["records"], raw_values.get("records"))
        return TypeAdapter(BatchFile).validate_python(values)
    except MetadataError as error:
        raise _batch_file_error(f"batch.yaml: metadata: {error}") from error
    except ValidationError as error:
        problems = "; ".join(dict.fromkeys(_describe_error(e["loc"], e["type"]) for e in error.errors()))
        raise _batch_file_error(f"batch.yaml: {problems}. See data/README.md for the keys.") from error


def _names_as_written(value: Any, text: Any) -> Any:
    """The columns `no`, `12` and `2026-05-01` are not false, a number and a date. An empty value stays none."""
    if isinstance(value, dict) and isinstance(text, dict) and len(value) == len(text):
        pairs = zip(value.items(), text.items(), strict=True)  # both in the order of the file
        return {_names_as_written(key, name): _names_as_written(one, of_name) for (key, one), (name, of_name) in pairs}
    return text if isinstance(value, bool | int | float | date) and isinstance(text, str) else value


# Errors quote only keys that this project defines: any other text in the file could be sensitive.
_KNOWN_KEYS = {
    "source",
    "records",
    "subject_id",
    "report_id",
    "identifiers",
    "sections",
    "written_on",
    "reports_without_subject",
}


def _describe_error(place: tuple[int | str, ...], kind: str) -> str:
    known = ".".join(str(part) for part in place if part in _KNOWN_KEYS) or "top level"
    what = {"unexpected_keyword_argument": "unknown key", "missing": "missing", "value_error": "unknown kind"}
    return f"{known}: {what.get(kind, 'wrong value')}"


def _batch_file_error(detail: str) -> UnreadableError:
    return UnreadableError(UnreadableReason.BAD_BATCH_FILE, detail)
