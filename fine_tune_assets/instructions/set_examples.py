"""Examples of a set before they are conversations: approved now, approved for an earlier set, or general data.

Owns what is known of each of the three, and where it comes from. Which of them a set holds is decided in `assembly`.
"""

from collections.abc import Mapping

from fine_tune_assets.core.prompts.retrieval_contract import bare_question
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.splits import Split
from fine_tune_assets.tables.approval import ApprovedExample
from fine_tune_assets.tables.instructions import GeneralExample, ProvenanceRow
from fine_tune_assets.tables.records import Record

GENERAL_TASK = "general"
_UNKNOWN = ReportFacts(None, None, None)


class ExampleText(Record):
    """An example with instruction, input and output apart, for exports and comparisons that need them so."""

    example_id: str
    split: str
    instruction: str
    input: str
    output: str


class SetExample(ExampleText, ProvenanceRow):
    """An example and where it comes from."""

    is_general: bool


def approved_example(example: ApprovedExample, split: Split, reports: Mapping[str, ReportFacts]) -> SetExample:
    """An example that is approved now."""
    report = reports.get(example.report_id, _UNKNOWN)
    return SetExample(
        example_id=example.example_id,
        split=split,
        instruction=example.instruction,
        input=example.input,
        output=example.output,
        report_id=example.report_id,
        report_fingerprint=report.fingerprint,
        patient_key=example.patient_key,
        task=example.task,
        source=example.source,
        approved_by=example.approved_by,
        approval_kind=example.approval_kind,
        decision_ids=example.decision_ids or (),
        fingerprint=example.fingerprint,
        scrubber_version=report.scrubber_version,
        passages=_count_passages(example.instruction, example.input),
        is_general=False,
    )


def earlier_example(provenance: ProvenanceRow, instruction: str, input_text: str, output: str) -> SetExample:
    """An example of an earlier set: it brings its own provenance."""
    texts = {"instruction": instruction, "input": input_text, "output": output}
    passages = _count_passages(instruction, input_text)
    return SetExample.of({**vars(provenance), **texts, "passages": passages, "is_general": False})


def general_example(example: GeneralExample) -> SetExample:
    """Only trained on; no patient and no report stands behind it."""
    return SetExample(
        example_id=example.example_id,
        split="train",
        instruction=example.instruction,
        input=example.input,
        output=example.output,
        report_id=None,
        report_fingerprint=None,
        patient_key=None,
        task=GENERAL_TASK,
        source=example.source,
        approved_by=None,
        approval_kind=None,
        decision_ids=(),
        fingerprint=example.fingerprint,
        scrubber_version=None,
        passages=_count_passages(example.instruction, example.input),
        is_general=True,
    )


def _count_passages(instruction: str, input_text: str) -> int | None:
    return len(bare_question(instruction, input_text).documents) or None
