"""The judge that needs no second model and no GPU: one calibrated grade from what can be measured.

Owns the grade, its reason, and the file `offline_model.json` beside it, which `make fit-judge` writes (see offline_judge_fit.py).

It compares an answer with an expert's reference: without one there is no grade. It sees what was left out, wordiness and numbers
that the input does not hold. It can't see a wrong statement that is made of the right words: such hallucinations are rare in the
summaries that it was fitted on (human mean .023), so nobody could show that it finds them. It says nothing of tone and format.
How well it agrees with experts is measured by agreement.py at every run, on dialogues that it was not fitted on.
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
from fine_tune_assets.judging.judges.features import FEATURES, FEATURES_VERSION, measure_answers, sentences_of
from fine_tune_assets.judging.judges.grades import LOWEST, Answered, Criterion, Grade, JudgeKind, Pair, Preference
from fine_tune_assets.judging.statistics.association import Knots, calibrated
from fine_tune_assets.quantities.numbers import unsupported_numbers

MODEL_FILE = Path(__file__).with_name("offline_model.json")
COST_OF_A_NUMBER = 1.0
"""Points of the grade for each number that neither the input nor the reference holds: a wrong dose is the worst mistake that
such a text can make. Not fitted: the rated summaries hold too few of them."""
RULES_VERSION = 1
"""Raise it when grades change for another reason than the model's."""
BATCH = 256
"""Answers that are measured at once."""
NO_REFERENCE = "no reference answer to compare with"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """One grade, from the figures."""

    weights: Mapping[str, float]
    """Feature → weight, at least 0: better figures never lower a grade."""
    intercept: float
    knots: Knots
    """From the weighted sum to 1 to 10."""

    def grades(self, features: Floats) -> Floats:
        """`features`: (answers, FEATURES)."""
        weighed = features * np.array([self.weights.get(name, 0.0) for name in FEATURES])
        # Not a matrix product: its last digit depends on how many answers are graded at once.
        return calibrated(np.array([math.fsum([*row, self.intercept]) for row in weighed]), self.knots)


@dataclass(frozen=True)
class OfflineModel:
    overall: Scale
    criteria: Mapping[str, Scale]
    """Of the rubric, by name; those that can't be seen are absent."""
    preference_slope: float
    """The log-odds that people prefer the answer whose grade is one point higher."""
    fitted_on: frozenset[str]
    """Fingerprints of the dialogues whose summaries it was fitted on."""
    fingerprint: str


def model_of(content: Mapping[str, Any]) -> OfflineModel:
    """`content`: as in the file."""
    return OfflineModel(
        overall=_scale(content["overall"]),
        criteria={name: _scale(scale) for name, scale in content["criteria"].items()},
        preference_slope=content["preference_slope"],
        fitted_on=frozenset(content["fitted_on"]),
        fingerprint=fingerprint_json(content),
    )


@cache
def shipped_model() -> OfflineModel:
    return model_of(json.loads(MODEL_FILE.read_text(encoding="utf-8")))


def _scale(content: Mapping[str, Any]) -> Scale:
    return Scale(content["weights"], content["intercept"], tuple((raw, grade) for raw, grade in content["knots"]))


def offline_judge() -> "OfflineJudge":
    """With the shipped weights."""
    return OfflineJudge(shipped_model())


@dataclass
class OfflineJudge:
    model: OfflineModel
    kind: JudgeKind = field(default="offline", init=False)

    @property
    def version(self) -> str:
        return combine([self.model.fingerprint, str(FEATURES_VERSION), str(RULES_VERSION)])

    @property
    def fitted_on(self) -> frozenset[str]:
        return self.model.fitted_on

    def afresh(self) -> "OfflineJudge":
        return self

    def grade(self, answers: Sequence[Answered], progress: Progress) -> list[Grade]:
        found: list[Grade] = []
        for start in range(0, len(answers), BATCH):
            found += self._grade_batch(answers[start : start + BATCH])
            progress(len(found), len(answers), "answers graded")
        return found

    def compare(self, pairs: Sequence[Pair], progress: Progress) -> list[Preference]:
        """The difference of the two grades as a probability. Both orders give the same by construction, and it says so."""
        answers = [
            answer for pair in pairs for answer in (_answered(pair, pair.output_1), _answered(pair, pair.output_2))
        ]
        grades = self.grade(answers, progress)
        return [self._preference(*two) for two in zip(grades[::2], grades[1::2], strict=True)]

    def _grade_batch(self, answers: Sequence[Answered]) -> list[Grade]:
        refused = {row: grade for row, answer in enumerate(answers) if (grade := _without_measuring(answer))}
        measured = [answer for row, answer in enumerate(answers) if row not in refused]
        features = measure_answers(measured)
        overall = self.model.overall.grades(features).tolist()
        criteria = {name: scale.grades(features).tolist() for name, scale in self.model.criteria.items()}
        graded = iter(
            _grade(
                answer,
                dict(zip(FEATURES, features[row].tolist(), strict=True)),
                overall[row],
                {name: grades[row] for name, grades in criteria.items()},
            )
            for row, answer in enumerate(measured)
        )
        return [refused[row] if row in refused else next(graded) for row in range(len(answers))]

    def _preference(self, first: Grade, second: Grade) -> Preference:
        if first.score is None or second.score is None:
            return Preference(None, None, first.reason if first.score is None else second.reason)
        probability = 1 / (1 + math.exp(-self.model.preference_slope * (first.score - second.score)))
        return Preference(probability, True, f"grades {first.score:.2f} and {second.score:.2f}; no order is involved")


def _without_measuring(answer: Answered) -> Grade | None:
    """The grade of what has no words to compare."""
    if not sentences_of(answer.reference or ""):
        return Grade(None, NO_REFERENCE)
    return None if sentences_of(answer.output) else Grade(LOWEST, "an answer without words")


def _grade(answer: Answered, features: dict[str, float], overall: float, criteria: dict[str, float]) -> Grade:
    numbers = unsupported_numbers(answer.output, f"{answer.input}\n{answer.reference}")
    told, least = features["content recall"], features["worst clause told"]
    words = f"tells {told:.0%} of the reference's words, {least:.0%} of its worst clause"
    reason = f"{words}; {len(numbers)} numbers in neither input nor reference"
    return Grade(
        score=max(LOWEST, overall - len(numbers) * COST_OF_A_NUMBER),
        reason=reason,
        criteria={name: Criterion(score, reason) for name, score in criteria.items()},
    )


def _answered(pair: Pair, output: str) -> Answered:
    return Answered(pair.id, pair.task, pair.instruction, pair.input, output, pair.reference)
