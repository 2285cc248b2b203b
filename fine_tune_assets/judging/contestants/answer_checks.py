"""Deterministic checks of every answer, beside the judge: each is a figure of its own, and each can veto (families.py).

Owns which checks there are, their table, what counts as a fault of form (sections or JSON), and how long approved answers are. No
model is asked, and no text of an answer leaves: counts only.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fine_tune_assets.claims.checks import CHECKS, check_answer
from fine_tune_assets.claims.sections import find_section, headings_of, section_texts
from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.recipes.schema import CheckSettings, OutputFormat
from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets.tables.judging import AnswerCheck, JudgeScore
from fine_tune_assets.tables.records import records_of, table_from

OF_THE_INPUT: Final = tuple(CHECKS)
"""What an answer states must be in its input."""
OF_THE_FORM: Final = ("format", "finished", "length")
CHECK_NAMES: Final = (*OF_THE_INPUT, *OF_THE_FORM)
MINIMUM_REFERENCES: Final = 10
"""Approved answers to a task below which nothing is known of how long they are."""
LOWEST_PERCENT, HIGHEST_PERCENT = 5, 95
"""Of the approved lengths: the multiples are of these, so that one odd answer widens no bound."""
Bounds = tuple[float, float]
"""Fewest and most words."""


def check_answers(scores: pa.Table, instruction_set: pa.Table, settings: CheckSettings) -> pa.Table:
    """`answer_checks`: a row for each answer of `judge_scores` and check. Raises GateClosedError for an answer to another
    example."""
    examples = {row.example_id: row for row in records_of(InstructionRow, instruction_set)}
    tested = {name for name, row in examples.items() if row.split == "test"}
    unknown = set(scores.column("example_id").to_pylist()) - tested
    if unknown:
        raise GateClosedError(
            f"{len(unknown)} answers are to examples that this instruction set does not test on. "
            + materialize_hint("judge_scores")
        )
    own = [(row.task, row.messages[-1].content) for row in examples.values() if not row.is_general]
    bounds = length_bounds(own, settings)
    checks = (
        check
        for score in records_of(JudgeScore, scores)
        for check in _checks(score, examples[score.example_id], settings, bounds)
    )
    return table_from(AnswerCheck, checks)


def _checks(
    score: JudgeScore, example: InstructionRow, settings: CheckSettings, bounds: Mapping[str, Bounds]
) -> Iterator[AnswerCheck]:
    answer, task = score.answer, example.task
    found: dict[str, int | None] = {
        name: len(unsupported) for name, unsupported in check_answer(answer, example.messages[-2].content).items()
    }
    wanted, length = settings.formats.get(task), bounds.get(task)
    found["format"] = None if wanted is None else format_faults(answer, wanted)
    found["finished"] = int(not score.is_finished)
    found["length"] = None if length is None else int(not is_within(answer, length))
    for check in CHECK_NAMES:
        count = found[check]
        yield AnswerCheck(
            model=score.model,
            model_fingerprint=score.model_fingerprint,
            adapter_id=score.adapter_id,
            example_id=score.example_id,
            patient_key=score.patient_key,
            check=check,
            is_held=None if count is None else count == 0,
            found=count or 0,
        )


def incumbent_in(table: pa.Table) -> str:
    """Fingerprint of what the checks compare the candidate with: the production model, else the base model; empty without
    either."""
    by_role = dict(zip(*(table.column(name).to_pylist() for name in ("model", "model_fingerprint")), strict=True))
    return str(by_role.get("incumbent") or by_role.get("base") or "")


def format_faults(answer: str, wanted: OutputFormat) -> int:
    """Sections that are missing or empty; or errors against the schema, 1 for what is no JSON.

    >>> format_faults("ASSESSMENT\\nSprain.\\nPLAN", OutputFormat(headings=("ASSESSMENT", "PLAN")))
    1
    """
    if wanted.json_schema is not None:
        return _schema_errors(answer, wanted.json_schema)
    sections = section_texts(answer, [name for heading in wanted.headings for name in headings_of(heading)])
    return sum(find_section(sections, heading) is None for heading in wanted.headings)


def _schema_errors(answer: str, schema: Mapping[str, Any]) -> int:
    # Imported here: every step process loads this file, and few recipes have a schema.
    from jsonschema import Draft202012Validator

    try:
        value = json.loads(answer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return 1
    return sum(1 for _ in Draft202012Validator(dict(schema)).iter_errors(value))


def _refuse(constant: str) -> None:
    """NaN and Infinity are no JSON, though Python reads them."""
    raise ValueError(constant)


def length_bounds(approved: Iterable[tuple[str, str]], settings: CheckSettings) -> dict[str, Bounds]:
    """Task → fewest and most words of an answer, from (task, approved answer); without tasks that have too few of them."""
    words: dict[str, list[int]] = defaultdict(list)
    for task, answer in approved:
        words[task].append(len(answer.split()))
    return {task: _bounds(lengths, settings) for task, lengths in words.items() if len(lengths) >= MINIMUM_REFERENCES}


def _bounds(lengths: list[int], settings: CheckSettings) -> Bounds:
    low, high = np.percentile(lengths, [LOWEST_PERCENT, HIGHEST_PERCENT])
    return settings.shortest * float(low), settings.longest * float(high)


def is_within(answer: str, bounds: Bounds) -> bool:
    """An empty answer never is."""
    low, high = bounds
    return max(low, 1) <= len(answer.split()) <= high
