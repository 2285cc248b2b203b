"""Measures whether a judge's grades show planted errors, with the record and without it.

A judge that finds an error without the record recognizes how planted errors look, and does not read.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.judging.judges.grades import GradableAnswer, Grade, Judge
from fine_tune_assets.judging.judges.human_agreement import (
    EMPTY_ROW,
    finite_score,
    missing_grade_reason,
    split_fitted,
)
from fine_tune_assets.judging.judges.labelled_sets import ALL_PLANTED, PLANTED, RatedSet
from fine_tune_assets.judging.judges.planted_errors.planted_error_set import (
    ChangedAnswer,
    build_planted_errors,
    replace_record,
)
from fine_tune_assets.judging.judges.rubrics import Rubric
from fine_tune_assets.judging.statistics.association import Interval, auroc, bootstrap_interval
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import table_from_rows

MIN_CASES: Final = 3
NOTICEABLE_LOSS: Final = 1.0
"""Points from which a true rewrite counts as graded down."""
_TOO_FEW: Final = f"fewer than {MIN_CASES} cases"
Grades = Mapping[GradableAnswer, Grade]


def measure_planted_errors(judge: Judge, rated: RatedSet, rubric: Rubric, progress: Progress) -> pa.Table:
    """Rows of `judge_agreement`: one per kind of error and criterion measured by statements, and those of the overall grade."""
    parts = split_fitted(judge, rated)
    return pa.concat_tables([_measure_part(judge, part, rubric, excluded, progress) for part, excluded in parts])


def _measure_part(judge: Judge, rated: RatedSet, rubric: Rubric, excluded: int, progress: Progress) -> pa.Table:
    planted = build_planted_errors(rated.rows)
    cases = (*planted.errors, *planted.added, *planted.paraphrases)
    answers = [answer for case in cases for answer in (case.before, case.after)]
    answers += [replace_record(answer) for case in planted.errors for answer in (case.before, case.after)]
    distinct = list(dict.fromkeys(answers))
    grades = dict(zip(distinct, judge.grade(distinct, progress), strict=True))
    common = {
        **EMPTY_ROW,
        "labelled_set": rated.name,
        "task": rated.task,
        "labelled_set_fingerprint": rated.fingerprint,
        "judge_version": judge.version,
        "excluded_training_count": excluded,
    }
    found = [
        *(
            row
            for one in rubric
            if one.measured_by == "statements"
            for row in _error_rows(planted.errors, grades, one.name)
        ),
        *_overall_rows((*planted.added, *planted.paraphrases), grades),
    ]
    return table_from_rows([common | row for row in found], JudgeAgreement.SCHEMA)


def _error_rows(errors: Sequence[ChangedAnswer], grades: Grades, criterion: str) -> Iterator[dict[str, Any]]:
    kinds = sorted({error.kind for error in errors})
    yield _error_row(ALL_PLANTED, errors, grades, criterion)
    for kind in kinds:
        yield _error_row(PLANTED + kind, [error for error in errors if error.kind == kind], grades, criterion)


def _error_row(measure: str, errors: Sequence[ChangedAnswer], grades: Grades, criterion: str) -> dict[str, Any]:
    compared = [
        (error, before, after)
        for error in errors
        if (before := finite_score(grades[error.before], criterion)) is not None
        and (after := finite_score(grades[error.after], criterion)) is not None
    ]
    row = {
        "human_measure": measure,
        "criterion": criterion,
        "answer_count": len(compared),
        "ungraded_count": len(errors) - len(compared),
    }
    if len(compared) < MIN_CASES:
        missing = [grades[one] for error in errors for one in (error.before, error.after)]
        return {**row, "missing_reason": missing_grade_reason(missing, criterion) or _TOO_FEW}
    right, wrong = (np.array([case[place] for case in compared], float) for place in (1, 2))
    groups = [error.group for error, _, _ in compared]
    found = bootstrap_interval(lambda i: auroc(right[i], wrong[i]), groups)
    lowered = bootstrap_interval(lambda i: float((wrong[i] < right[i]).mean()), groups)
    raised = bootstrap_interval(lambda i: float((wrong[i] > right[i]).mean()), groups)
    blind = _blind_auroc([error for error, _, _ in compared], grades, criterion)
    if found is not None:
        row |= {"auroc": found.value, "auroc_low": found.low, "auroc_high": found.high}
    if lowered is not None and raised is not None:
        row |= {"lowered_share": lowered.value, "lowered_low": lowered.low}
        row |= {"raised_share": raised.value, "raised_high": raised.high}
    if blind is not None:
        row |= {"blind_auroc": blind.value, "blind_auroc_high": blind.high}
    return row


def _blind_auroc(errors: Sequence[ChangedAnswer], grades: Grades, criterion: str) -> Interval | None:
    """None if one of the answers has no grade without its record."""
    right, wrong = (
        np.array(
            [math.nan if (one := finite_score(grades[replace_record(a)], criterion)) is None else one for a in side]
        )
        for side in zip(*((error.before, error.after) for error in errors), strict=True)
    )
    return bootstrap_interval(lambda i: auroc(right[i], wrong[i]), [error.group for error in errors])


def _overall_rows(cases: Sequence[ChangedAnswer], grades: Grades) -> Iterator[dict[str, Any]]:
    for kind in sorted({case.kind for case in cases}):
        of_kind = [case for case in cases if case.kind == kind]
        changes = [
            after - before
            for case in of_kind
            if (before := finite_score(grades[case.before])) is not None
            and (after := finite_score(grades[case.after])) is not None
        ]
        row = {
            "human_measure": kind,
            "answer_count": len(changes),
            "ungraded_count": len(of_kind) - len(changes),
        }
        if len(changes) < MIN_CASES:
            reason = missing_grade_reason([grades[case.after] for case in of_kind]) or _TOO_FEW
            yield {**row, "missing_reason": reason}
        elif kind == "paraphrase":
            yield {**row, "graded_down_share": sum(change < -NOTICEABLE_LOSS for change in changes) / len(changes)}
        else:
            yield {**row, "graded_up_share": sum(change > 1e-9 for change in changes) / len(changes)}
