"""Examples of a set before they become conversations: currently approved, replayed from an earlier set, or general data.

assembly.py decides which of them a set contains.
"""

from collections.abc import Mapping

from fine_tune_assets.core.prompts.retrieval_contract import strip_passages
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.splits import Split
from fine_tune_assets.tables.approval_rows import ApprovedExample
from fine_tune_assets.tables.common_columns import Message
from fine_tune_assets.tables.instruction_rows import GeneralExample, ProvenanceRow
from fine_tune_assets.tables.record_classes import Record

GENERAL_TASK = "general"
_UNKNOWN_REPORT = ReportFacts(None, None, None)


class ExampleText(Record):
    """An example with separate instruction, input and output, for exports and comparisons."""

    example_id: str
    split: str
    instruction: str
    input: str
    output: str
    history: tuple[Message, ...] | None = None
    """Earlier turns; only general data has any."""

    @property
    def history_messages(self) -> list[dict[str, str]]:
        """Earlier turns in OpenAI's format."""
        return [{"role": turn.role, "content": turn.content} for turn in self.history or ()]


class SetExample(ExampleText, ProvenanceRow):
    """An example with its provenance."""

    is_general: bool


def approved_example(example: ApprovedExample, split: Split, reports: Mapping[str, ReportFacts]) -> SetExample:
    """From a currently approved example."""
    report = reports.get(example.report_id, _UNKNOWN_REPORT)
    return SetExample(
        example_id=example.example_id,
        split=split,
        instruction=example.instruction,
        input=example.input,
        output=example.output,
        report_id=example.report_id,
        report_fingerprint=report.fingerprint,
        subject_key=example.subject_key,
        task=example.task,
        source=example.source,
        approved_by=example.approved_by,
        approval_kind=example.approval_kind,
        decision_ids=example.decision_ids or (),
        fingerprint=example.fingerprint,
        scrubber_version=report.scrubber_version,
        passage_count=_count_passages(example.instruction, example.input),
        is_general=False,
    )


def replayed_example(provenance: ProvenanceRow, instruction: str, input_text: str, output: str) -> SetExample:
    """From an earlier set, with its original provenance."""
    texts = {"instruction": instruction, "input": input_text, "output": output, "history": None}
    passages = _count_passages(instruction, input_text)
    return SetExample.from_row({**vars(provenance), **texts, "passage_count": passages, "is_general": False})


def general_example(example: GeneralExample) -> SetExample:
    """From general data: always in train, without subject or report."""
    return SetExample(
        example_id=example.example_id,
        split="train",
        instruction=example.instruction,
        input=example.input,
        output=example.output,
        history=example.history,
        report_id=None,
        report_fingerprint=None,
        subject_key=None,
        task=GENERAL_TASK,
        source=example.source,
        approved_by=None,
        approval_kind=None,
        decision_ids=(),
        fingerprint=example.fingerprint,
        scrubber_version=None,
        passage_count=_count_passages(example.instruction, example.input),
        is_general=True,
    )


def _count_passages(instruction: str, input_text: str) -> int | None:
    return len(strip_passages(instruction, input_text).documents) or None
