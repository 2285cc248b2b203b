"""The parts of completeness weigh as much as their agreement with people deserves, on dialogues that do not qualify the judge."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.judging.judges.judge_weights import (
    find_weights,
    is_shipped_reader,
    shipped_weights,
)
from fine_tune_assets.judging.judges.labelled_sets import RatedSet, read_rated_summaries
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets.judging.judges.statement_readers import Claim, Reading
from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier
from fine_tune_assets.judging.judges.weights_fit import fit_judge
from fine_tune_assets.judging.judges.word_overlap_fit import is_training_dialogue

READS_NOTHING = "the server is unreachable"


@dataclass
class _Reader:
    """Reads a claim by a function of the test."""

    name: str
    read_claim: Callable[[Claim], float]
    failure: str = ""
    identity: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.identity = {"reader": self.name}

    def read(self, claims: Sequence[Claim], progress: Progress) -> list[Reading]:
        progress(len(claims), len(claims), "statements")
        supported = [self.read_claim(claim) for claim in claims]
        return [Reading(one, (1 - one) / 2, (1 - one) / 2, "", self.failure) for one in supported]

    def for_repeat(self) -> "_Reader":
        return self


@pytest.fixture(scope="module")
def rated() -> RatedSet:
    return read_rated_summaries(PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv")


def _reads_like_people(rated: RatedSet) -> Callable[[Claim], float]:
    """Doubts the statements of summaries that people found imprecise."""
    precision = {(row.answered.input, row.answered.output): row.ratings["FactualPrecision"] for row in rated.rows}
    found = [(record, output, value) for (record, output), value in precision.items()]

    def read(claim: Claim) -> float:
        own = [value for record, output, value in found if record == claim.record and claim.statement in output]
        return min(0.099, 0.1 * min(own)) if own else 0.9

    return read


def _disagrees(claim: Claim) -> float:
    return (len(claim.statement) * 7919 % 97) / 970


def _judge(reader: Any) -> StatementJudge:
    return StatementJudge("statements", reader, read_rubric("general", "clinical"))


def test_weights_are_not_negative_and_sum_to_one(rated: RatedSet, tmp_path: Path) -> None:
    fitted = fit_judge(_judge(_Reader("people", _reads_like_people(rated))), [rated], tmp_path)
    weights = fitted.weights.completeness.values()
    assert all(weight >= 0 for weight in weights)
    assert sum(weights) == pytest.approx(1, abs=1e-3)


def test_fitted_weights_are_found_again_and_make_another_judge(rated: RatedSet, tmp_path: Path) -> None:
    """A qualification holds for the weights with which it was measured."""
    judge = _judge(_Reader("noise", _disagrees))
    fitted = fit_judge(judge, [rated], tmp_path)
    assert fitted.version != judge.version
    assert find_weights(tmp_path, judge.reader.identity) == fitted.weights
    assert find_weights(tmp_path, fitted.reader.identity) == fitted.weights
    assert find_weights(tmp_path, {"reader": "another"}) == shipped_weights()


def test_weights_are_fitted_on_the_half_that_does_not_measure(rated: RatedSet) -> None:
    judge = _judge(_Reader("noise", _disagrees))
    used = [row.group for row in rated.rows if is_training_dialogue(row)]
    assert set(used) <= judge.training_groups


def test_without_readings_the_weights_stay(rated: RatedSet, tmp_path: Path) -> None:
    judge = _judge(_Reader("down", _disagrees, READS_NOTHING))
    assert fit_judge(judge, [rated], tmp_path) is judge
    assert not list(tmp_path.iterdir())
    assert fit_judge(judge, [], tmp_path) is judge


def test_the_shipped_weights_belong_to_the_shipped_verifier(rated: RatedSet, tmp_path: Path) -> None:
    """If this fails, the verifier changed: run `make fit-judge`."""
    judge = StatementJudge("verifier", open_verifier("", 1), read_rubric("general", "clinical"))
    assert is_shipped_reader(judge.reader.identity)
    assert fit_judge(judge, [rated], tmp_path) is judge
    assert judge.weights == shipped_weights()
