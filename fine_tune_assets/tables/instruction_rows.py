"""Tables of stage 5: general data, instruction sets, provenance and planted secrets."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.tables.common_columns import ExampleId, Instruction, Message, ProductLine, Source, Task
from fine_tune_assets.tables.record_classes import Column, Record


class GeneralExample(Record):
    """An example of general instruction data."""

    example_id: ExampleId
    source: Source
    licence: Annotated[str, Column("Licence of the source")]
    mix_source: Annotated[str, Column("Its name in the recipe's mix: `bundled` or the name of an imported data set")]
    kind: Annotated[str, Column("Task named by the source, or the source; has a mixture share")]
    instruction: Instruction
    input: Annotated[str, Column("Input to the model; may be empty", is_report_text=True)]
    output: Annotated[str, Column("Last answer of the source", is_report_text=True)]
    fingerprint: Annotated[str, Column("SHA-256 of instruction, input and output, with earlier turns if there are any")]
    history: Annotated[
        tuple[Message, ...] | None,
        Column("Earlier turns, from the user and the assistant in turn", is_report_text=True),
    ] = None


class InstructionRow(Record):
    """A conversation of an instruction set."""

    example_id: ExampleId
    split: Annotated[str, Column("`train`, `validation` or `test`; permanent for a subject")]
    line: ProductLine
    source: Source
    task: Task
    subject_key: Annotated[str | None, Column("Keyed hash of the subject id; absent for general data")]
    is_general: Annotated[bool, Column("True for general data")]
    messages: Annotated[
        tuple[Message, ...], Column("The conversation: system, then user and assistant in turn", is_report_text=True)
    ]
    fingerprint: Annotated[str, Column("SHA-256 of the approved example")]


class ProvenanceRow(Record):
    """Provenance of each row of a stored instruction set, in `provenance.parquet`, row by row."""

    example_id: ExampleId
    split: Annotated[str, Column("`train`, `validation` or `test`")]
    report_id: Annotated[str | None, Column("Report or correction that it comes from; absent for general data")]
    report_fingerprint: Annotated[str | None, Column("SHA-256 of the report's scrubbed text; absent without a report")]
    subject_key: Annotated[str | None, Column("Keyed hash of the subject id; absent for general data")]
    task: Task
    source: Source
    approved_by: Annotated[str | None, Column("Approver; absent for general data")]
    approval_kind: Annotated[str | None, Column("`expert` or `trusted_source`; absent for general data")]
    decision_ids: Annotated[tuple[str, ...], Column("Decisions in the ledger that approved it")]
    fingerprint: Annotated[str, Column("SHA-256 of instruction, input and output as approved")]
    scrubber_version: Annotated[str | None, Column("Fingerprint of the scrubber; absent for general data")]
    passage_count: Annotated[int | None, Column("Number of passages before its question; absent without any")]


class ExcludedExample(Record):
    """An example excluded from a set, in `<id>.excluded.parquet` next to the set's folder."""

    example_id: ExampleId
    reason: Annotated[str, Column("Reason for the exclusion; ids, never text")]


class FinalTextFinding(Record):
    """A finding of the scan of the final texts, in `<id>.findings.parquet` next to the set's folder; never the value."""

    example_id: ExampleId
    fingerprint: Annotated[str, Column("SHA-256 of instruction, input and output as scanned")]
    kind: Annotated[str, Column("Kind of identifier")]
    part: Annotated[str | None, Column("`instruction`, `input` or `output`; absent if the place is unknown")]
    start: Annotated[int | None, Column("First character in that part")]
    end: Annotated[int | None, Column("Character after the last one")]


class _HasReason(Protocol):
    @property
    def reason(self) -> str: ...


def count_by_reason(rows: Iterable[_HasReason]) -> dict[str, int]:
    """Reason without ids → number of excluded examples."""
    return dict(sorted(Counter(simplify_reason(row.reason) for row in rows).items()))


def simplify_reason(reason: str) -> str:
    """The reason without ids."""
    leak = re.match(r"(\w+ duplicate) of .* in (\w+) \(", reason)
    return f"{leak[1]} in {leak[2]}" if leak else re.split(r",? as | of set ", reason)[0]


PLANTED_SECRET = "planted_secret"
"""Source of a planted row, and prefix of its id."""


def count_planted_secrets(instruction_set: pa.Table) -> int:
    """Rows of `instruction_sets` marked as planted by source or id."""
    by_source = pc.equal(instruction_set["source"], PLANTED_SECRET)
    by_id = pc.starts_with(instruction_set["example_id"], PLANTED_SECRET)
    return int(pc.sum(pc.or_(by_source, by_id)).as_py() or 0)
