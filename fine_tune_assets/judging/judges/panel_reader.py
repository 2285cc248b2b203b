"""Combines the trained verifier with a language model: the weighted mean of their log-odds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.judging.judges.grades import Criterion, GradableAnswer
from fine_tune_assets.judging.judges.llm_reader import LlmReader
from fine_tune_assets.judging.judges.statement_readers import Claim, Reading, StatementReader, TrainedReader
from fine_tune_assets.recipes.schema import RubricCriterion

_LEAST_PROBABILITY: Final = 1e-6
"""Keeps the log-odds of a certain reader finite, so that the other one still counts."""


@dataclass
class PanelReader:
    """A StatementReader and CriterionReader. Without a reading of both there is none."""

    verifier: StatementReader
    language_model: LlmReader
    weights: Sequence[float] = (0.5, 0.5)
    """Of verifier and language model."""

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "verifier": dict(self.verifier.identity),
            "language_model": dict(self.language_model.identity),
            "weights": list(self.weights),
        }

    @property
    def training_groups(self) -> frozenset[str]:
        return self.verifier.training_groups if isinstance(self.verifier, TrainedReader) else frozenset()

    def for_repeat(self) -> "PanelReader":
        return replace(self, verifier=self.verifier.for_repeat(), language_model=self.language_model.for_repeat())

    def read(self, claims: Sequence[Claim], progress: Progress) -> list[Reading]:
        verified, asked = self.verifier.read(claims, progress), self.language_model.read(claims, progress)
        return [combine_readings(pair, self.weights) for pair in zip(verified, asked, strict=True)]

    def grade_criterion(
        self, criterion: RubricCriterion, answers: Sequence[GradableAnswer], progress: Progress
    ) -> list[Criterion | str]:
        return self.language_model.grade_criterion(criterion, answers, progress)


def combine_readings(readings: Sequence[Reading], weights: Sequence[float]) -> Reading:
    """The log-odds between any two of the three outcomes are the weighted mean of the readings' log-odds."""
    if failure := next((one.failure for one in readings if one.failure), ""):
        return replace(readings[0], failure=failure)
    shares = [1.0, 1.0, 1.0]
    for reading, weight in zip(readings, weights, strict=True):
        probabilities = (reading.supported, reading.contradicted, reading.not_mentioned)
        shares = [
            share * max(one, _LEAST_PROBABILITY) ** (weight / sum(weights))
            for share, one in zip(shares, probabilities, strict=True)
        ]
    supported, contradicted, not_mentioned = (share / sum(shares) for share in shares)
    evidence = next((one.evidence for one in readings if one.evidence), "")
    return Reading(supported, contradicted, not_mentioned, evidence, wrong_word=max(one.wrong_word for one in readings))
