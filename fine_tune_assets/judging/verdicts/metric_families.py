"""Turns the tables of stage 7 into the metrics of a verdict, one family per table.

A value that is absent from its table becomes a missing metric with its name.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.judging.evaluation.robustness_cases import CODE_PROBES
from fine_tune_assets.judging.memorization.memorization_rows import is_leak, is_measured, unmeasured_reasons
from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, effective_pairs
from fine_tune_assets.judging.statistics.paired_differences import tail_above
from fine_tune_assets.judging.verdicts.paired_grades import GradedPair, grade_means
from fine_tune_assets.judging.verdicts.verdict_metrics import (
    Family,
    Metric,
    gain_metric,
    group_metric,
    missing_metric,
    pass_fail_metric,
    share_metric,
)
from fine_tune_assets.recipes.schema import GateSettings
from fine_tune_assets.tables.judging_rows import (
    AnswerCheck,
    DocumentAnswer,
    MemorizationResult,
    RetainedAbility,
    RobustnessResult,
)
from fine_tune_assets.tables.record_classes import RecordT, iter_records


def target_metric(pairs: Sequence[GradedPair], gate: GateSettings, level: float) -> Metric:
    """The mean grade on the test examples. `level`: the one-sided level of this verdict."""
    grades = grade_means(pairs)
    if grades is None:
        return missing_metric("target", "grade", "No test example has a grade for both models.", gate.minimum_gain)
    tail = tail_above([p.worst_difference for p in pairs], [p.subject_key for p in pairs], gate.minimum_gain)
    return gain_metric(grades, tail, gate.minimum_gain, gate.worthwhile_gain, level)


def group_metrics(
    family: Literal["tasks", "subgroups"],
    pairs: Sequence[GradedPair],
    groups: Mapping[str, Sequence[str]],
    gate: GateSettings,
) -> list[Metric]:
    """The mean grade in each task or subgroup. One below the recipe's minimum size is measured, but its loss alone decides."""
    return [_group_metric(family, name, pairs, set(example_ids), gate) for name, example_ids in groups.items()]


def _group_metric(
    family: Literal["tasks", "subgroups"],
    name: str,
    pairs: Sequence[GradedPair],
    example_ids: set[str],
    gate: GateSettings,
) -> Metric:
    inside = [pair for pair in pairs if pair.example_id in example_ids]
    grades = grade_means(inside)
    if grades is None:
        why = f"Not tested: none of {len(inside)} examples is graded for both models."
        metric = missing_metric(family, name, why, gate.maximum_group_loss, len(inside))
        return replace(metric, is_small=len(inside) < gate.minimum_group_examples)
    return group_metric(family, name, grades, gate.maximum_group_loss, gate.minimum_group_examples)


def ability_metrics(table: pa.Table | None, gate: GateSettings) -> list[Metric]:
    """Accuracy on general tasks, candidate against base model, with the recipe's current limits instead of the stored ones."""
    return [
        _ability_metric(row, gate.ability_budgets.get(row.ability, gate.maximum_ability_loss))
        for row in _rows(RetainedAbility, table)
    ]


def _ability_metric(row: RetainedAbility, margin: float) -> Metric:
    items, shares = row.question_count, (row.adapter_accuracy, row.base_accuracy)
    if not items or not all(0 <= share <= 1 for share in shares):
        return missing_metric("abilities", row.ability, "The accuracy is not a number.", margin, items or 0)
    pairs = BinaryPairs(items, row.base_only_correct, row.adapter_only_correct)
    return share_metric("abilities", row.ability, pairs, shares, items, margin)


def check_metrics(table: pa.Table | None, incumbent: str, examples: Iterable[str], margin: float) -> list[Metric]:
    """Deterministic checks of the same answers: how often each passes.

    A check that applies to one model's answer only counts as passed for the other model: nothing was found there.
    """
    passed: dict[str, dict[bool, dict[str, tuple[bool | None, str]]]] = defaultdict(lambda: {True: {}, False: {}})
    for row in _rows(AnswerCheck, table):
        is_candidate = row.model == "adapter"
        if is_candidate or row.model_fingerprint == incumbent:
            passed[row.check][is_candidate][row.example_id] = (row.is_passed, row.subject_key)
    wanted = set(examples)
    return [
        _check_metric("checks", name, both[True], both[False], wanted, margin) for name, both in sorted(passed.items())
    ]


def _check_metric(
    family: Family,
    name: str,
    candidate: Mapping[str, tuple[bool | None, str]],
    incumbent: Mapping[str, tuple[bool | None, str]],
    example_ids: set[str],
    margin: float,
) -> Metric:
    both = candidate.keys() & incumbent.keys()
    if example_ids - both:
        why = f"{len(example_ids - both)} of {len(example_ids)} examples were not checked for both models."
        return missing_metric(family, name, why, margin, len(both))
    ids = [key for key in sorted(example_ids) if candidate[key][0] is not None or incumbent[key][0] is not None]
    if not ids:
        return missing_metric(family, name, "Not tested: the check applies to no answer.", None)
    new, old = ([side[key][0] is not False for key in ids] for side in (candidate, incumbent))
    pairs = effective_pairs(new, old, [candidate[key][1] for key in ids])
    metric = share_metric(family, name, pairs, (sum(new) / len(ids), sum(old) / len(ids)), len(ids), margin)
    if family == "checks" and metric.outcome == "unknown" and pairs.worse == 0:
        # Many checks apply to few answers, for which no interval could show the limit.
        return replace(
            metric, outcome="passes", reason=f"None of {len(ids)} answers got worse; an interval needs more."
        )
    return metric


DOCUMENT_METRICS = ("grounding", "citation", "refusal")


def document_metrics(table: pa.Table | None, incumbent: str, margin: float) -> list[Metric]:
    """Answers from documents: how often the passages support every statement, the right passage is cited, and a question that no
    passage answers is refused without an unsupported statement."""
    rows = [row for row in _rows(DocumentAnswer, table) if row.model == "adapter" or row.model_fingerprint == incumbent]
    return [_document_metric(name, rows, margin) for name in DOCUMENT_METRICS] if rows else []


def _document_metric(name: str, rows: Sequence[DocumentAnswer], margin: float) -> Metric:
    asked = [row for row in rows if row.is_answerable is (name != "refusal")]
    candidate, incumbent = (
        {
            row.question_id: (passed, row.document)
            for row in asked
            if (row.model == "adapter") is is_candidate and (passed := _passes(name, row)) is not None
        }
        for is_candidate in (True, False)
    )
    questions = {row.question_id for row in asked}
    return _check_metric("documents", name, candidate, incumbent, questions, margin)


def _passes(name: str, row: DocumentAnswer) -> bool | None:
    """None if the statements were not read."""
    if name == "citation":
        return row.is_cited
    return row.is_grounded if name == "grounding" or row.is_grounded is None else row.is_refusal and row.is_grounded


def robustness_metrics(table: pa.Table | None, margin: float) -> list[Metric]:
    """Empty, overlong and manipulated inputs: how often the input is refused or the answer is unaffected."""
    return [_robustness_metric(row, margin) for row in _rows(RobustnessResult, table)]


def _robustness_metric(row: RobustnessResult, margin: float) -> Metric:
    case, items, passed, base_passed = row.case, row.input_count, row.passed_count, row.base_passed_count
    if not items:
        return missing_metric("robustness", case, "The case was not run.", margin)
    shares = (passed / items, base_passed / items)
    if case in CODE_PROBES:  # handled by our code, not by the model: no loss is allowed
        why = (
            f"{items - passed} of {items} inputs were mishandled; the limit is 0. This is a bug in our code: report it."
        )
        return pass_fail_metric("robustness", case, shares[0], items, passed == items, "" if passed == items else why)
    pairs = BinaryPairs(items, row.base_only_passed_count, row.candidate_only_passed_count)
    return share_metric("robustness", case, pairs, shares, items, margin)


def safety_metrics(table: pa.Table | None) -> list[Metric]:
    """Memorization: a gating test passes or fails, with no allowed loss. Other tests are informational."""
    if table is None:
        return []
    rows = _rows(MemorizationResult, table)
    row_reasons = {row.reason for row in rows}
    other_reasons = [why for why in unmeasured_reasons(table) if why not in row_reasons]
    missing = [missing_metric("safety", f"memorization_{n}", why, 0.0) for n, why in enumerate(other_reasons, start=1)]
    return [*(_probe_metric(row) for row in rows), *missing]


def _probe_metric(row: MemorizationResult) -> Metric:
    items = row.item_count or 0
    share = row.extracted_count / items if items and row.extracted_count is not None else None
    if not row.is_gating:
        shown = missing_metric("safety", row.test, row.reason, None, items)
        return replace(shown, candidate=share, p=row.p_value)
    if not is_leak(row) and not is_measured(row):
        return missing_metric("safety", row.test, row.reason, 0.0, items)
    is_clean = not is_leak(row)
    clean = pass_fail_metric("safety", row.test, share, items, is_clean, "" if is_clean else row.reason)
    return replace(clean, p=row.p_value)


def _rows(kind: type[RecordT], table: pa.Table | None) -> list[RecordT]:
    return [] if table is None else list(iter_records(kind, table))


def require_same_adapter(adapter_id: str, tables: Mapping[str, pa.Table | None]) -> None:
    """Raise GateClosedError if a table is about another candidate."""
    for name, table in tables.items():
        if table is not None and set(table.column("adapter_id").to_pylist()) - {adapter_id}:
            raise GateClosedError(f"{name} is about another adapter. {materialize_hint(name)}")
