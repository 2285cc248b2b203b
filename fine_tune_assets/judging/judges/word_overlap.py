"""Word overlap with the reference: a member of the statement judge's grade of completeness.

`word_overlap_model.json` holds its weights; `make fit-judge` writes it (word_overlap_fit.py). It measures omissions, wordiness
and numbers that the input does not contain. It does not detect a wrong statement made of the right words.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.fingerprints import combine, fingerprint_json
from fine_tune_assets.judging.judges.answer_features import FEATURES, FEATURES_VERSION, measure_answers, split_sentences
from fine_tune_assets.judging.judges.grades import MIN_SCORE, GradableAnswer
from fine_tune_assets.judging.statistics.association import Knots, apply_knots
from fine_tune_assets.quantities.numbers import find_unsupported_numbers

MODEL_FILE = Path(__file__).with_name("word_overlap_model.json")
"""Its fingerprint is part of every statement judge's version."""
UNSUPPORTED_NUMBER_PENALTY = 1.0
"""Points deducted for each number that neither the input nor the reference contains, because a wrong dose is the worst mistake of
such a text. Not fitted: the rated summaries contain too few such numbers."""
RULES_VERSION = 1
"""Increase it when grades change for another reason than a new model file."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WordOverlap:
    weights: Mapping[str, float]
    """Feature → weight, at least 0, so that a better feature never lowers a grade."""
    intercept: float
    knots: Knots
    """Map from the weighted sum to 1 to 10."""
    training_groups: frozenset[str]
    """Fingerprints of the training dialogues."""
    fingerprint: str

    @property
    def version(self) -> str:
        return combine([self.fingerprint, str(FEATURES_VERSION), str(RULES_VERSION)])

    def grade(self, answers: Sequence[GradableAnswer]) -> list[float | None]:
        """One grade from 1 to 10 per answer, in order; None without a reference to compare with."""
        found: list[float | None] = [MIN_SCORE if split_sentences(one.reference or "") else None for one in answers]
        rows = [row for row, one in enumerate(answers) if found[row] is not None and split_sentences(one.output)]
        predicted = self._predict(measure_answers([answers[row] for row in rows])).tolist()
        for row, grade in zip(rows, predicted, strict=True):
            found[row] = max(MIN_SCORE, grade - _number_penalty(answers[row]))
        return found

    def _predict(self, features: Floats) -> Floats:
        """`features`: shape (answers, FEATURES)."""
        weighted = features * np.array([self.weights.get(name, 0.0) for name in FEATURES])
        # Not a matrix product, whose last digit depends on the batch size.
        return apply_knots(np.array([math.fsum([*row, self.intercept]) for row in weighted]), self.knots)


@cache
def word_overlap() -> WordOverlap:
    """With the shipped weights."""
    content: dict[str, Any] = json.loads(MODEL_FILE.read_text(encoding="utf-8"))
    overall = content["overall"]
    return WordOverlap(
        weights=overall["weights"],
        intercept=overall["intercept"],
        knots=tuple((raw, grade) for raw, grade in overall["knots"]),
        training_groups=frozenset(content["training_groups"]),
        fingerprint=fingerprint_json(content),
    )


def _number_penalty(answer: GradableAnswer) -> float:
    numbers = find_unsupported_numbers(answer.output, f"{answer.input}\n{answer.reference}")
    return UNSUPPORTED_NUMBER_PENALTY * len(numbers)
