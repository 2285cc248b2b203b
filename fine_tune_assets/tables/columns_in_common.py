"""Columns that tables of several stages have, with one meaning."""

from datetime import date
from typing import Annotated

from fine_tune_assets.tables.records import Column, Record

ReportId = Annotated[str, Column("Batch and the report's own id in it, `batch/id`")]
BatchName = Annotated[str, Column("Name of the batch folder")]
Source = Annotated[str, Column("Where the report comes from, as its batch says")]
PatientKey = Annotated[str, Column("Keyed hash of the patient's id; the id itself is nowhere")]
WrittenOn = Annotated[
    date | None, Column("Day on which it was written, as its metadata says and the profile lets it stand")
]
TextFingerprint = Annotated[str, Column("SHA-256 of the text")]
ExampleId = Annotated[str, Column("Id of the example, made from its content")]
Task = Annotated[str, Column("Task of the recipe that made the example")]
Line = Annotated[str, Column("Product line: the name of the recipe")]
Instruction = Annotated[str, Column("What the model is asked to do", is_report_text=True)]
ScrubbedInput = Annotated[str, Column("What it is given, scrubbed", is_report_text=True)]
ScrubbedOutput = Annotated[str, Column("What it should answer, scrubbed", is_report_text=True)]


class KnownIdentifier(Record):
    """An identifier that a report's own metadata states."""

    kind: str
    value: str


class Message(Record):
    """A turn of a conversation."""

    role: str
    content: str


class Passage(Record):
    """A passage of a document that stood before a question."""

    passage_id: str
    title: str
    source: str
    version: str
    headings: tuple[str, ...]
    text: str
    labels: tuple[str, ...]


class Use(Record):
    """What an engine can do with a base model, and why not."""

    use: str
    engine: str
    is_possible: bool
    reason: str
