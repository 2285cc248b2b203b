"""The formula judge: one calibrated grade from features of the answer, without a second model or a GPU.

`formula_model.json` holds its weights; `make fit-judge` writes it (formula_fit.py). The judge compares an answer with an
expert's reference and gives no grade without one. It detects omissions, wordiness and numbers that the input does not contain. It
does not detect a wrong statement made of the right words: such hallucinations are too rare in the training summaries (human mean
0.023) to show that it could. It does not assess tone and format. human_agreement.py measures its agreement with experts on
dialogues that it was not trained on.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.fingerprints import combine, fingerprint_json
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.judging.judges.answer_features import FEATURES, FEATURES_VERSION, measure_answers, split_sentences
from fine_tune_assets.judging.judges.grades import (
    MIN_SCORE,
    AnswerPair,
    Criterion,
    GradableAnswer,
    Grade,
    JudgeKind,
    Preference,
)
from fine_tune_assets.judging.statistics.association import Knots, apply_knots
from fine_tune_assets.quantities.numbers import find_unsupported_numbers

MODEL_FILE = Path(__file__).with_name("formula_model.json")
UNSUPPORTED_NUMBER_PENALTY = 1.0
"""Points deducted for each number that neither the input nor the reference contains, because a wrong dose is the worst mistake of
such a text. Not fitted: the rated summaries contain too few such numbers."""
RULES_VERSION = 1
"""Increase it when grades change for another reason than a new model file."""
BATCH_SIZE = 256
"""Answers per batch."""
NO_REFERENCE = "no reference answer to compare with"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GradeModel:
    weights: Mapping[str, float]
    """Feature → weight, at least 0, so that a better feature never lowers a grade."""
    intercept: float
    knots: Knots
    """Map from the weighted sum to 1 to 10."""

    def predict(self, features: Floats) -> Floats:
        """`features`: shape (answers, FEATURES)."""
        weighted = features * np.array([self.weights.get(name, 0.0) for name in FEATURES])
        # Not a matrix product, whose last digit depends on the batch size.
        return apply_knots(np.array([math.fsum([*row, self.intercept]) for row in weighted]), self.knots)


@dataclass(frozen=True)
class FormulaModel:
    overall: GradeModel
    criteria: Mapping[str, GradeModel]
    """By criterion of the rubric; criteria that this judge does not assess are absent."""
    preference_slope: float
    """Log-odds per point that people prefer the answer with the higher grade."""
    training_groups: frozenset[str]
    """Fingerprints of the training dialogues."""
    fingerprint: str


def parse_model(content: Mapping[str, Any]) -> FormulaModel:
    return FormulaModel(
        overall=_parse_grade_model(content["overall"]),
        criteria={name: _parse_grade_model(scale) for name, scale in content["criteria"].items()},
        preference_slope=content["preference_slope"],
        training_groups=frozenset(content["training_groups"]),
        fingerprint=fingerprint_json(content),
    )


@cache
def shipped_model() -> FormulaModel:
    return parse_model(json.loads(MODEL_FILE.read_text(encoding="utf-8")))


def _parse_grade_model(content: Mapping[str, Any]) -> GradeModel:
    return GradeModel(content["weights"], content["intercept"], tuple((raw, grade) for raw, grade in content["knots"]))


def formula_judge() -> "FormulaJudge":
    """The judge with the shipped weights."""
    return FormulaJudge(shipped_model())


@dataclass
class FormulaJudge:
    model: FormulaModel
    kind: JudgeKind = field(default="formula", init=False)

    @property
    def version(self) -> str:
        return combine([self.model.fingerprint, str(FEATURES_VERSION), str(RULES_VERSION)])

    @property
    def training_groups(self) -> frozenset[str]:
        return self.model.training_groups

    def for_repeat(self) -> "FormulaJudge":
        return self

    def grade(self, answers: Sequence[GradableAnswer], progress: Progress) -> list[Grade]:
        found: list[Grade] = []
        for start in range(0, len(answers), BATCH_SIZE):
            found += self._grade_batch(answers[start : start + BATCH_SIZE])
            progress(len(found), len(answers), "answers graded")
        return found

    def compare(self, pairs: Sequence[AnswerPair], progress: Progress) -> list[Preference]:
        """Derive preferences from the two grades; the order of the answers has no influence."""
        answers = [
            answer
            for pair in pairs
            for answer in (_pair_answer(pair, pair.output_1), _pair_answer(pair, pair.output_2))
        ]
        grades = self.grade(answers, progress)
        return [self.prefer(*two) for two in zip(grades[::2], grades[1::2], strict=True)]

    def _grade_batch(self, answers: Sequence[GradableAnswer]) -> list[Grade]:
        trivial = {row: grade for row, answer in enumerate(answers) if (grade := _trivial_grade(answer))}
        measured = [answer for row, answer in enumerate(answers) if row not in trivial]
        features = measure_answers(measured)
        overall = self.model.overall.predict(features).tolist()
        criteria = {name: scale.predict(features).tolist() for name, scale in self.model.criteria.items()}
        graded = iter(
            _grade(
                answer,
                dict(zip(FEATURES, features[row].tolist(), strict=True)),
                overall[row],
                {name: grades[row] for name, grades in criteria.items()},
            )
            for row, answer in enumerate(measured)
        )
        return [trivial[row] if row in trivial else next(graded) for row in range(len(answers))]

    def prefer(self, first: Grade, second: Grade) -> Preference:
        """The preference that follows from two grades of the same question."""
        if first.score is None or second.score is None:
            return Preference(None, None, first.reason if first.score is None else second.reason)
        probability = 1 / (1 + math.exp(-self.model.preference_slope * (first.score - second.score)))
        return Preference(
            probability, True, f"grades {first.score:.2f} and {second.score:.2f}; independent of the order"
        )


def _trivial_grade(answer: GradableAnswer) -> Grade | None:
    """The grade of an answer that can't be compared: no reference, or no words. None otherwise."""
    if not split_sentences(answer.reference or ""):
        return Grade(None, NO_REFERENCE)
    return None if split_sentences(answer.output) else Grade(MIN_SCORE, "an answer without words")


def _grade(answer: GradableAnswer, features: dict[str, float], overall: float, criteria: dict[str, float]) -> Grade:
    numbers = find_unsupported_numbers(answer.output, f"{answer.input}\n{answer.reference}")
    recall, worst = features["content recall"], features["worst clause recall"]
    words = f"covers {recall:.0%} of the reference's words, {worst:.0%} of its worst clause"
    reason = f"{words}; {len(numbers)} numbers are in neither input nor reference"
    return Grade(
        score=max(MIN_SCORE, overall - len(numbers) * UNSUPPORTED_NUMBER_PENALTY),
        reason=reason,
        criteria={name: Criterion(score, reason) for name, score in criteria.items()},
    )


def _pair_answer(pair: AnswerPair, output: str) -> GradableAnswer:
    return GradableAnswer(pair.id, pair.task, pair.instruction, pair.input, output, pair.reference)
