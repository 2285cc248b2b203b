"""Measures how a judge grades an installation's own approved answers before and after a planted error, by kind of error.

Every figure has the end of its 95 % interval that speaks against the judge; subjects are resampled, not cases.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.judging.judges.grades import GradableAnswer, Judge
from fine_tune_assets.judging.judges.human_agreement import EMPTY_ROW, finite_score
from fine_tune_assets.judging.judges.labelled_sets import ALL_PLANTED, PLANTED
from fine_tune_assets.judging.judges.planted_errors.own_errors import OwnExample, plant_own_errors
from fine_tune_assets.judging.judges.planted_errors.planted_error_set import ChangedAnswer, replace_record
from fine_tune_assets.judging.statistics.association import Interval, auroc, bootstrap_interval
from fine_tune_assets.tables.judging_rows import JudgeAgreement

OWN_EXAMPLES: Final = "own_examples"
"""The labelled set of the installation's own approved answers."""
ALL_KINDS: Final = "all"
MIN_CASES: Final = 3
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorDetection:
    """How a judge grades the errors of one kind. Shares and AUROC are None if there are too few cases."""

    kind: str
    cases: int
    subjects: int
    ungraded: int
    lowered: Interval | None
    """Share of right answers whose grade the error lowers."""
    raised: Interval | None
    auroc: Interval | None
    """Probability that a right answer has a higher grade than a wrong one."""
    blind_auroc: Interval | None
    """The same with an unrelated record."""


@dataclass(frozen=True)
class GradedErrors:
    """The grades of every case, without and with its error; NaN where the judge gave none."""

    cases: Sequence[ChangedAnswer]
    right: Floats
    wrong: Floats
    blind_right: Floats
    blind_wrong: Floats

    def summarize(self) -> list[ErrorDetection]:
        """`all`, then each kind that has cases."""
        kinds = list(dict.fromkeys(case.kind for case in self.cases))
        return [self._summarize(ALL_KINDS, self.cases), *(self._summarize(kind, self._of(kind)) for kind in kinds)]

    def is_detected(self) -> Floats:
        """1 where the error lowers the grade, -1 where it raises it, else 0; a missing grade detects nothing."""
        return np.nan_to_num(np.sign(self.right - self.wrong), nan=0.0)

    def _of(self, kind: str) -> list[ChangedAnswer]:
        return [case for case in self.cases if case.kind == kind]

    def _summarize(self, kind: str, cases: Sequence[ChangedAnswer]) -> ErrorDetection:
        chosen = np.array([kind in (ALL_KINDS, case.kind) for case in self.cases], dtype=bool)
        is_graded = np.isfinite(self.right + self.wrong)
        rows = np.flatnonzero(chosen & is_graded)
        right, wrong = self.right[rows], self.wrong[rows]
        blind_right, blind_wrong = self.blind_right[rows], self.blind_wrong[rows]
        groups = [self.cases[row].group for row in rows.tolist()]
        found: list[Interval | None] = [None] * 4
        if len(rows) >= MIN_CASES:
            found = [
                bootstrap_interval(lambda i: float((wrong[i] < right[i]).mean()), groups),
                bootstrap_interval(lambda i: float((wrong[i] > right[i]).mean()), groups),
                bootstrap_interval(lambda i: auroc(right[i], wrong[i]), groups),
                bootstrap_interval(lambda i: auroc(blind_right[i], blind_wrong[i]), groups),
            ]
        return ErrorDetection(kind, len(rows), len(set(groups)), len(cases) - len(rows), *found)


def grade_own_errors(judge: Judge, criterion: str, examples: Sequence[OwnExample], progress: Progress) -> GradedErrors:
    """`criterion`: the criterion of the judge's rubric that is measured by statements."""
    cases = plant_own_errors(examples)
    sides = [[case.before for case in cases], [case.after for case in cases]]
    sides += [[replace_record(answer) for answer in side] for side in sides]
    distinct = list(dict.fromkeys(answer for side in sides for answer in side))
    grades = dict(zip(distinct, judge.grade(distinct, progress), strict=True))
    scores = [np.array([_score(grades[one], criterion) for one in side], dtype=float) for side in sides]
    return GradedErrors(cases, *scores)


def _score(grade: Any, criterion: str) -> float:
    found = finite_score(grade, criterion)
    return float("nan") if found is None else found


def agreement_rows(
    found: Sequence[ErrorDetection], examples: Sequence[OwnExample], judge_version: str, criterion: str
) -> Iterator[dict[str, Any]]:
    """The measurement as rows of `judge_agreement`."""
    for one in found:
        yield {
            **EMPTY_ROW,
            "labelled_set": OWN_EXAMPLES,
            "labelled_set_fingerprint": fingerprint_examples(examples),
            "judge_version": judge_version,
            "human_measure": ALL_PLANTED if one.kind == ALL_KINDS else f"{PLANTED}{one.kind}",
            "criterion": criterion,
            "answer_count": one.cases,
            "ungraded_count": one.ungraded,
            "excluded_training_count": 0,
            **_columns(one),
            "missing_reason": None if one.auroc else f"fewer than {MIN_CASES} cases",
        }


def _columns(one: ErrorDetection) -> dict[str, float]:
    found: dict[str, float] = {}
    if one.auroc is not None:
        found |= {"auroc": one.auroc.value, "auroc_low": one.auroc.low, "auroc_high": one.auroc.high}
    if one.lowered is not None and one.raised is not None:
        found |= {"lowered_share": one.lowered.value, "lowered_low": one.lowered.low}
        found |= {"raised_share": one.raised.value, "raised_high": one.raised.high}
    if one.blind_auroc is not None:
        found |= {"blind_auroc": one.blind_auroc.value, "blind_auroc_high": one.blind_auroc.high}
    return {name: value for name, value in found.items() if name in JudgeAgreement.SCHEMA.names}


def fingerprint_examples(examples: Sequence[OwnExample]) -> str:
    """Changes with every text that the measurement uses, whatever the order."""
    texts: list[tuple[str, GradableAnswer]] = [(one.subject, one.answered) for one in examples]
    return fingerprint_json(sorted([subject, one.task, one.input, one.output] for subject, one in texts))
