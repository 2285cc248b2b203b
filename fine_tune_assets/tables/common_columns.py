"""Columns that tables of several stages share."""

from datetime import date
from typing import Annotated

from fine_tune_assets.tables.record_classes import Column, Record

ReportId = Annotated[str, Column("Batch and id of the report, `batch/id`")]
BatchName = Annotated[str, Column("Batch folder")]
Source = Annotated[str, Column("Origin of the report, as its batch states")]
SubjectKey = Annotated[str, Column("Keyed hash of the subject id, which is not stored")]
WrittenOn = Annotated[date | None, Column("Date of the report from its metadata, if the profile keeps it")]
TextFingerprint = Annotated[str, Column("SHA-256 of the text")]
ExampleId = Annotated[str, Column("Id of the example, derived from its content")]
Task = Annotated[str, Column("Task of the recipe that made the example")]
ProductLine = Annotated[str, Column("Product line: name of the recipe")]
Instruction = Annotated[str, Column("Instruction to the model", is_report_text=True)]
ScrubbedInput = Annotated[str, Column("Input to the model, scrubbed", is_report_text=True)]
ScrubbedOutput = Annotated[str, Column("Expected output, scrubbed", is_report_text=True)]


class KnownIdentifier(Record):
    """An identifier that a report's metadata states."""

    kind: str
    value: str


class HeadingLine(Record):
    """A line that the format of the report states to be a heading."""

    line: int
    """Number of the line, from 1."""
    level: int
    """0 for the title, 1 to 9 for heading styles, 10 for a bold line without one."""


Headings = Annotated[
    tuple[HeadingLine, ...] | None, Column("Lines that the report's format states to be headings, and their levels")
]


class Message(Record):
    """A turn of a conversation."""

    role: str
    content: str


class Passage(Record):
    """A document passage that preceded a question."""

    passage_id: str
    title: str
    source: str
    version: str
    headings: tuple[str, ...]
    text: str
    labels: tuple[str, ...]


class EngineSupport(Record):
    """What an engine supports for a base model, and why not."""

    operation: str
    engine: str
    is_supported: bool
    reason: str
