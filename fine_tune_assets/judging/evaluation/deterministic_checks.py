"""Deterministic checks of every answer: grounding, format, completeness, length and readable words. Each check is a metric that
can veto (metric_families.py). The table holds counts, no answer text.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fine_tune_assets.claims.grounding_checks import GROUNDING_CHECKS, check_answer
from fine_tune_assets.claims.sections import extract_section_texts, find_section, list_heading_variants
from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.judging.evaluation.readable_words import KnownWords
from fine_tune_assets.recipes.domain_packs import LoadedPack
from fine_tune_assets.recipes.schema import CheckSettings, OutputFormat
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.judging_rows import AnswerCheck, JudgeScore
from fine_tune_assets.tables.record_classes import iter_records, table_from_records

GROUNDING_CHECK_NAMES: Final = tuple(GROUNDING_CHECKS)
"""Checks that the statements of an answer are in its input or in the approved answer."""
FORMAT_CHECKS: Final = ("format", "finished", "length", "readable")
CHECK_NAMES: Final = (*GROUNDING_CHECK_NAMES, *FORMAT_CHECKS)
MIN_REFERENCES: Final = 10
"""Minimum number of approved answers of a task for length bounds."""
LOW_PERCENTILE, HIGH_PERCENTILE = 5, 95
"""Percentiles of the approved lengths that the ratios multiply, so that one outlier does not widen the bounds."""
LengthBounds = tuple[float, float]
"""Minimum and maximum number of words."""


def check_answers(scores: pa.Table, instruction_set: pa.Table, settings: CheckSettings, pack: LoadedPack) -> pa.Table:
    """Build `answer_checks`: one row per answer of `judge_scores` and check. A check that the domain does not make has no result.

    Raises GateClosedError for an answer to an example that is not in the test split.
    """
    examples = {row.example_id: row for row in iter_records(InstructionRow, instruction_set)}
    tested = {name for name, row in examples.items() if row.split == "test"}
    unknown = set(scores.column("example_id").to_pylist()) - tested
    if unknown:
        raise GateClosedError(
            f"{len(unknown)} graded examples are not in the test split of this instruction set. "
            + materialize_hint("judge_scores")
        )
    own = [row for row in examples.values() if not row.is_general]
    bounds = length_bounds(((row.task, row.messages[-1].content) for row in own), settings)
    known_words = KnownWords([(row.task, row.messages[-2].content, row.messages[-1].content) for row in own])
    checks = (
        check
        for score in iter_records(JudgeScore, scores)
        for check in _check_rows(score, examples[score.example_id], settings, bounds, known_words, pack)
    )
    return table_from_records(AnswerCheck, checks)


def _check_rows(
    score: JudgeScore,
    example: InstructionRow,
    settings: CheckSettings,
    bounds: Mapping[str, LengthBounds],
    known_words: KnownWords,
    pack: LoadedPack,
) -> Iterator[AnswerCheck]:
    answer, task, question = score.answer, example.task, example.messages[-2].content
    # What the approved answer states is right, also if the expert added it.
    unsupported = check_answer(answer, f"{question}\n{example.messages[-1].content}", pack.pack.checks)
    found: dict[str, int | None] = {name: len(facts) for name, facts in unsupported.items()}
    expected, length_bound = settings.formats.get(task), bounds.get(task)
    found["format"] = None if expected is None else count_format_errors(answer, expected, pack.section_names)
    found["finished"] = int(not score.is_finished)
    found["length"] = None if length_bound is None else int(not is_length_within(answer, length_bound))
    is_readable = known_words.is_readable(task, question, answer)
    found["readable"] = None if is_readable is None else int(not is_readable)
    for check in CHECK_NAMES:
        count = found.get(check)
        yield AnswerCheck(
            model=score.model,
            model_fingerprint=score.model_fingerprint,
            adapter_id=score.adapter_id,
            example_id=score.example_id,
            subject_key=score.subject_key,
            check=check,
            is_passed=None if count is None else count == 0,
            violation_count=count or 0,
        )


def incumbent_fingerprint(table: pa.Table) -> str:
    """Fingerprint of the model that the candidate is compared with: the production model, else the base model, else empty."""
    by_role = dict(zip(*(table.column(name).to_pylist() for name in ("model", "model_fingerprint")), strict=True))
    return str(by_role.get("incumbent") or by_role.get("base") or "")


def count_format_errors(answer: str, expected: OutputFormat, section_names: Collection[str]) -> int:
    """Count missing or empty sections, or schema errors; invalid JSON counts as 1.

    >>> count_format_errors("ASSESSMENT\\nSprain.\\nPLAN", OutputFormat(headings=("ASSESSMENT", "PLAN")), ())
    1
    """
    if expected.json_schema is not None:
        return _count_schema_errors(answer, expected.json_schema)
    sections = extract_section_texts(
        answer, [name for heading in expected.headings for name in list_heading_variants(heading)], section_names
    )
    return sum(find_section(sections, heading) is None for heading in expected.headings)


def _count_schema_errors(answer: str, schema: Mapping[str, Any]) -> int:
    # Imported here, because every step process loads this module and few recipes have a schema.
    from jsonschema import Draft202012Validator

    try:
        value = json.loads(answer, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        return 1
    return sum(1 for _ in Draft202012Validator(dict(schema)).iter_errors(value))


def _reject_constant(constant: str) -> None:
    """Reject NaN and Infinity, which are not JSON but which Python accepts."""
    raise ValueError(constant)


def length_bounds(approved: Iterable[tuple[str, str]], settings: CheckSettings) -> dict[str, LengthBounds]:
    """Task → length bounds, from (task, approved answer). Tasks with fewer than MIN_REFERENCES answers have none."""
    words: dict[str, list[int]] = defaultdict(list)
    for task, answer in approved:
        words[task].append(len(answer.split()))
    return {task: _task_bounds(lengths, settings) for task, lengths in words.items() if len(lengths) >= MIN_REFERENCES}


def _task_bounds(lengths: list[int], settings: CheckSettings) -> LengthBounds:
    low, high = np.percentile(lengths, [LOW_PERCENTILE, HIGH_PERCENTILE])
    return settings.minimum_length_ratio * float(low), settings.maximum_length_ratio * float(high)


def is_length_within(answer: str, bounds: LengthBounds) -> bool:
    """Whether the word count is within the bounds; an empty answer never is."""
    low, high = bounds
    return max(low, 1) <= len(answer.split()) <= high
