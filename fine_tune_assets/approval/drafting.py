"""Drafts examples: from reports by the sections that a recipe's tasks name, and from users' corrections.

Owns how a report becomes instruction, input and output, what a reviewer is warned of, and what an approval is bound to.
Does not know who approves.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.sections import normal_heading, section_texts
from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.numbers import unsupported_numbers
from fine_tune_assets.core.tables import (
    DRAFTED_EXAMPLES,
    SCRUBBED_CORRECTIONS,
    UNIQUE_REPORTS,
    check_table,
    table_of,
)
from fine_tune_assets.recipes.schema import SectionTask

CORRECTION = "correction"
"""Source and task of a draft that was made from a user's correction."""
_BATCH_ROWS = 1024


def content_fingerprint(instruction: str, input_text: str, output: str) -> str:
    """What an approval is bound to: change a character, and it is another example."""
    return fingerprint_json({"instruction": instruction, "input": input_text, "output": output})


def draft_examples(unique: pa.Table, corrections: pa.Table, tasks: Sequence[SectionTask]) -> pa.Table:
    """DRAFTED_EXAMPLES of unique reports and scrubbed corrections, sorted by example id."""
    check_table(unique, UNIQUE_REPORTS)
    check_table(corrections, SCRUBBED_CORRECTIONS)
    drafts = [draft for report in _rows(unique) for draft in _drafts_of_report(report, tasks)]
    drafts += [_draft_of_correction(correction) for correction in _rows(corrections)]
    return table_of(sorted(drafts, key=lambda draft: draft["example_id"]), DRAFTED_EXAMPLES)


def reports_without_draft(unique: pa.Table, drafts: pa.Table) -> list[str]:
    """Ids of the reports that no task could use, sorted: they are counted, never silently lost."""
    used = pc.is_in(unique.column("report_id"), value_set=drafts.column("report_id").combine_chunks())
    return sorted(unique.filter(pc.invert(used)).column("report_id").to_pylist())


def correction_report_id(correction_id: str) -> str:
    return f"{CORRECTION}/{correction_id}"


def correction_authors(corrections: pa.Table) -> dict[str, str]:
    """`report_id` of a draft made from a correction → who wrote the correction, and so can't approve it."""
    return {correction_report_id(row["correction_id"]): row["author"] for row in _rows(corrections)}


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        yield from batch.to_pylist()


def _drafts_of_report(report: Mapping[str, Any], tasks: Sequence[SectionTask]) -> Iterator[dict[str, Any]]:
    named = [heading for task in tasks for heading in (*task.input_sections, task.output_section)]
    sections = section_texts(report["text"], named)
    for task in tasks:
        output = sections.get(normal_heading(task.output_section), "")
        input_text = _input_of(sections, task)
        if output and input_text:
            yield _draft(
                report["report_id"],
                report["source"],
                report["patient_key"],
                task.name,
                (task.instruction, input_text, output),
            )


def _input_of(sections: Mapping[str, str], task: SectionTask) -> str:
    """The input sections in the task's order, with their headings if there are several; empty if one is missing.

    From half of its input a model would only learn to invent the rest: a whole plan after "Headache.".
    """
    found = [(heading, sections.get(normal_heading(heading), "")) for heading in task.input_sections]
    if not all(text for _, text in found):
        return ""
    if len(found) == 1:
        return found[0][1]
    return "\n\n".join(f"{heading}\n{text}" for heading, text in found)


def _draft_of_correction(correction: Mapping[str, Any]) -> dict[str, Any]:
    return _draft(
        correction_report_id(correction["correction_id"]),
        CORRECTION,
        correction["patient_key"],
        CORRECTION,
        (correction["instruction"], correction["input"], correction["output"]),
    )


def _draft(report_id: str, source: str, patient_key: str, task: str, content: tuple[str, str, str]) -> dict[str, Any]:
    instruction, input_text, output = content
    fingerprint = content_fingerprint(instruction, input_text, output)
    return {
        "example_id": short(fingerprint_json([report_id, task, fingerprint])),
        "report_id": report_id,
        "source": source,
        "patient_key": patient_key,
        "task": task,
        "instruction": instruction,
        "input": input_text,
        "output": output,
        "flags": [
            f"number not in input: {number}" for number in unsupported_numbers(output, f"{instruction}\n{input_text}")
        ],
        "fingerprint": fingerprint,
    }
