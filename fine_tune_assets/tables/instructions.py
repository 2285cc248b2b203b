"""Tables of stage 5: instruction sets and what they are built of, and the mark of a planted secret in them."""

from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.tables.columns_in_common import ExampleId, Instruction, Line, Message, Source, Task
from fine_tune_assets.tables.records import Column, Record


class GeneralExample(Record):
    """An example of general instruction data."""

    example_id: ExampleId
    source: Source
    licence: Annotated[str, Column("Licence of the source")]
    kind: Annotated[str, Column("Kind of task that the source names, or the source: each has its share in the mix")]
    instruction: Instruction
    input: Annotated[str, Column("What it is given; may be empty")]
    output: Annotated[str, Column("Answer written by a person")]
    fingerprint: Annotated[str, Column("SHA-256 of instruction, input and output")]


class InstructionRow(Record):
    """A conversation of an instruction set."""

    example_id: ExampleId
    split: Annotated[str, Column("`train`, `validation` or `test`; a patient is in one only, for ever")]
    line: Line
    source: Source
    task: Task
    patient_key: Annotated[str | None, Column("Keyed hash of the patient's id; absent for general data")]
    is_general: Annotated[bool, Column("True for general data that was mixed in")]
    messages: Annotated[tuple[Message, ...], Column("The conversation: system, user, assistant", is_report_text=True)]
    fingerprint: Annotated[str, Column("SHA-256 of the approved example")]


class ProvenanceRow(Record):
    """Where a conversation of a stored instruction set comes from: `provenance.parquet` beside it, row for row."""

    example_id: ExampleId
    split: Annotated[str, Column("`train`, `validation` or `test`")]
    report_id: Annotated[str | None, Column("Report or correction it was made from; absent for general data")]
    report_fingerprint: Annotated[str | None, Column("SHA-256 of that report's scrubbed text; absent without a report")]
    patient_key: Annotated[str | None, Column("Keyed hash of the patient's id; absent for general data")]
    task: Task
    source: Source
    approved_by: Annotated[str | None, Column("Who approved it; absent for general data")]
    approval_kind: Annotated[str | None, Column("`expert` or `trusted_source`; absent for general data")]
    decision_ids: Annotated[tuple[str, ...], Column("The decisions in the ledger that it rests on")]
    fingerprint: Annotated[str, Column("SHA-256 of instruction, input and output as approved")]
    scrubber_version: Annotated[str | None, Column("Fingerprint of the scrubber; absent for general data")]
    passages: Annotated[int | None, Column("Passages of documents before its question; absent without any")]


class LeftOutExample(Record):
    """An example that a set is without: `<id>.left_out.parquet` beside its folder."""

    example_id: ExampleId
    reason: Annotated[str, Column("Why the set is without it; names ids, never text")]


CANARY = "planted_canary"
"""Source of a planted row, and the beginning of its id."""


def count_canaries(instruction_set: pa.Table) -> int:
    """Rows of `instruction_sets` that are marked as planted, by their source or by their id."""
    by_source = pc.equal(instruction_set["source"], CANARY)
    by_id = pc.starts_with(instruction_set["example_id"], CANARY)
    return int(pc.sum(pc.or_(by_source, by_id)).as_py() or 0)
