"""Measured agreement of judges whose grades are known in advance."""

import csv
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.judging.judges.grades import Criterion, GradableAnswer, Grade, JudgeKind
from fine_tune_assets.judging.judges.human_agreement import BETWEEN_PEOPLE, measure_agreement
from fine_tune_assets.judging.judges.judge_qualification import qualify_judge
from fine_tune_assets.judging.judges.labelled_sets import (
    FITTED_SUMMARIES,
    OwnRating,
    RatedAnswer,
    RatedSet,
    build_own_expert_sets,
    read_labelled_sets,
)
from fine_tune_assets.judging.judges.rubrics import read_rubric

JUDGE = PROJECT_DIR / "data" / "evaluation" / "judge"


@dataclass
class NumberJudge:
    """A judge that grades by the number that is the answer's text."""

    score_of: Callable[[str], float | None]
    version: str = "numbers"
    kind: JudgeKind = "rubric"

    def for_repeat(self) -> "NumberJudge":
        return self

    def grade(self, answers: Sequence[GradableAnswer], _progress: Progress) -> list[Grade]:
        return [Grade(self.score_of(answer.output), "by number") for answer in answers]


class FittedNumberJudge(NumberJudge):
    training_groups = frozenset({"text 0", "text 1"})


def _rated(number: int, rating: float, measure: str = "FactualF1") -> RatedAnswer:
    answered = GradableAnswer(str(number), "", "Summarize.", f"input {number // 4}", f"{number:03d}", "reference")
    return RatedAnswer(answered, f"text {number // 4}", {measure: rating})


RATED = RatedSet("rated_summaries", "set-1", None, tuple(_rated(n, n / 40) for n in range(40)))


def _row(judge: NumberJudge, labelled: RatedSet, accept_score: float = 7.0) -> dict[str, Any]:
    rows = measure_agreement(judge, [labelled], accept_score, ignore_progress).to_pylist()
    (row,) = [row for row in rows if row["human_measure"] != BETWEEN_PEOPLE]
    return row  # type: ignore[no-any-return]


def _truth(text: str) -> float:
    return 1 + 9 * int(text) / 40


def test_a_judge_that_grades_like_people_agrees_perfectly() -> None:
    row = _row(NumberJudge(_truth), RATED)
    assert (row["spearman"], row["answer_count"], row["ungraded_count"], row["excluded_training_count"]) == (
        pytest.approx(1.0, abs=1e-9),
        40,
        0,
        0,
    )
    assert (row["sensitivity"], row["specificity"]) == (1.0, 1.0)
    assert row["human_threshold"] == pytest.approx(2 / 3, abs=1e-9)
    assert (row["repeat_agreement"], row["repeat_max_difference"]) == (1.0, 0.0)
    table = measure_agreement(NumberJudge(_truth), [RATED], 7.0, ignore_progress)
    assert qualify_judge(table, "numbers", "any", 0.9).agreement == row["spearman"]


def test_a_judge_that_accepts_everything_has_no_specificity() -> None:
    """Sensitivity alone would look perfect."""
    row = _row(NumberJudge(lambda text: 9 + int(text) / 100), RATED)
    assert (row["sensitivity"], row["specificity"]) == (1.0, 0.0)


def test_a_judge_is_not_measured_on_its_training_texts() -> None:
    """Otherwise its agreement would be inflated."""
    rows = measure_agreement(FittedNumberJudge(_truth), [RATED], 7.0, ignore_progress).to_pylist()
    unseen, fitted = [row for row in rows if row["human_measure"] != BETWEEN_PEOPLE]
    assert (unseen["labelled_set"], unseen["answer_count"], unseen["excluded_training_count"]) == (RATED.name, 32, 8)
    assert (fitted["labelled_set"], fitted["answer_count"], fitted["excluded_training_count"]) == (
        FITTED_SUMMARIES,
        8,
        0,
    )


def test_a_judge_with_random_grades_is_detected() -> None:
    """A random grade would make the verdict random."""
    noise = random.Random(1)
    row = _row(NumberJudge(lambda text: _truth(text) + noise.random()), RATED)
    assert row["repeat_agreement"] == 0.0
    assert row["repeat_max_difference"] > 0.1


def test_a_missing_grade_is_counted_and_never_zero() -> None:
    row = _row(NumberJudge(lambda text: None if int(text) % 2 else _truth(text)), RATED)
    assert (row["answer_count"], row["ungraded_count"]) == (20, 20)
    assert row["spearman"] == pytest.approx(1.0, abs=1e-9)
    table = measure_agreement(
        NumberJudge(lambda text: None if int(text) % 2 else _truth(text)), [RATED], 7.0, ignore_progress
    )
    assert "without a grade" in qualify_judge(table, "numbers", "any", 0.0).failure_reason


@pytest.mark.parametrize(
    ("score_of", "why"),
    [(lambda _: None, "by number"), (lambda _: 5.0, "equal"), (lambda _: math.nan, "by number")],
)
def test_a_judge_that_cannot_be_measured_does_not_qualify(score_of: Callable[[str], float | None], why: str) -> None:
    """The value is missing with a reason."""
    judge = NumberJudge(score_of)
    row = _row(judge, RATED)
    assert row["spearman"] is None
    assert why in row["missing_reason"]
    qualification = qualify_judge(measure_agreement(judge, [RATED], 7.0, ignore_progress), "numbers", "any", -1.0)
    assert qualification.agreement is None
    assert qualification.failure_reason


def test_another_version_of_the_judge_does_not_qualify() -> None:
    table = measure_agreement(NumberJudge(_truth), [RATED], 7.0, ignore_progress)
    assert "`fine-tune materialize judge_agreement`" in qualify_judge(table, "another", "any", -1.0).failure_reason


def test_own_experts_have_one_row_per_task() -> None:
    """Agreement differs by task."""
    plan = [OwnRating("plan", float(1 + n % 9), replace(RATED.rows[n].answered, task="plan")) for n in range(20)]
    letter = [OwnRating("letter", 10.0 - n % 9, replace(RATED.rows[n].answered, task="letter")) for n in range(20)]
    rows = measure_agreement(
        NumberJudge(lambda text: 1.0 + int(text) % 9), build_own_expert_sets([*plan, *letter]), 7.0, ignore_progress
    ).to_pylist()
    found = {(row["labelled_set"], row["human_measure"], row["task"]): row["spearman"] for row in rows}
    assert found[("own_experts", "score", "plan")] == pytest.approx(1.0, abs=1e-9)
    assert found[("own_experts", "score", "letter")] == pytest.approx(-1.0, abs=1e-9)


def _shuffled(path: Path, to: Path) -> None:
    if path.suffix == ".json":
        rows = json.loads(path.read_text(encoding="utf-8"))
        random.Random(3).shuffle(rows)
        to.write_text(json.dumps(rows), encoding="utf-8")
        return
    with path.open(encoding="utf-8-sig", newline="") as file, to.open("w", encoding="utf-8", newline="") as other:
        table = list(csv.DictReader(file))
        random.Random(3).shuffle(table)
        writer = csv.DictWriter(other, table[0])
        writer.writeheader()
        writer.writerows(table)


def test_shuffled_rows_give_the_same_measures(tmp_path: Path) -> None:
    """They agree to the last digit; otherwise the same evidence would give another verdict."""
    (tmp_path / "llmbar").mkdir()
    names = ("rated_summaries.csv", "llmbar/LLMBar_Natural.json")
    for name in names:
        _shuffled(JUDGE / name, tmp_path / name)
    by_length = NumberJudge(lambda text: 1 + len(text) * 37 % 91 / 10, lambda pair: len(pair.output_1) * 37 % 91 / 91)
    shuffled = measure_agreement(by_length, read_labelled_sets(tmp_path), 7.0, ignore_progress)
    there = {path.stem for path in map(Path, names)}
    as_shipped = [labelled for labelled in read_labelled_sets(JUDGE) if labelled.name in there]
    expected = measure_agreement(by_length, as_shipped, 7.0, ignore_progress)
    assert shuffled.drop_columns("labelled_set_fingerprint") == expected.drop_columns("labelled_set_fingerprint")


@dataclass
class CriteriaJudge(NumberJudge):
    """Grades criteria by the same number, each with its own sign."""

    signs: Mapping[str, int] = field(default_factory=lambda: {"factual_accuracy": 1, "completeness": -1, "tone": 1})

    def grade(self, answers: Sequence[GradableAnswer], _progress: Progress) -> list[Grade]:
        return [self._grade(self.score_of(answer.output)) for answer in answers]

    def _grade(self, score: float | None) -> Grade:
        if score is None:
            return Grade(None, "no reply")
        criteria = {name: Criterion(score if sign > 0 else 11 - score) for name, sign in self.signs.items()}
        return Grade(score, "by number", criteria)


CLINICAL = read_rubric("clinical", "clinical")


def _by_criterion(judge: NumberJudge, labelled: RatedSet) -> dict[tuple[str | None, str], dict[str, Any]]:
    table = measure_agreement(judge, [labelled], 7.0, ignore_progress, CLINICAL)
    return {(row["criterion"], row["human_measure"]): row for row in table.to_pylist()}


def test_each_criterion_is_compared_with_the_ratings_of_the_same_quality() -> None:
    """Accuracy with precision and hallucination, completeness with recall and omission, also in an own rubric."""
    both = tuple(
        replace(row, ratings={"FactualPrecision": n / 40, "FactualRecall": n / 40}) for n, row in enumerate(RATED.rows)
    )
    found = _by_criterion(CriteriaJudge(_truth), replace(RATED, rows=both))
    assert found[("factual_accuracy", "FactualPrecision")]["spearman"] == pytest.approx(1.0, abs=1e-9)
    assert found[("completeness", "FactualRecall")]["spearman"] == pytest.approx(-1.0, abs=1e-9)
    assert ("factual_accuracy", "FactualRecall") not in found
    assert not any(criterion in ("tone", "format") for criterion, _ in found), "clinicians did not rate them"
    rubric = (replace(CLINICAL[0], name="truth"),)
    renamed = measure_agreement(
        CriteriaJudge(_truth, signs={"truth": 1}), [replace(RATED, rows=both)], 7.0, ignore_progress, rubric
    )
    assert renamed.to_pylist()[-1]["criterion"] == "truth"


def test_a_criterion_that_the_judge_does_not_grade_is_missing_with_a_reason() -> None:
    rated = replace(RATED, rows=tuple(replace(row, ratings={"FactualPrecision": 0.5}) for row in RATED.rows))
    row = _by_criterion(NumberJudge(_truth), rated)[("factual_accuracy", "FactualPrecision")]
    assert (row["answer_count"], row["ungraded_count"], row["spearman"]) == (0, 40, None)
    assert "factual_accuracy" in row["missing_reason"]


def _own_set(*raters: Callable[[int], float]) -> RatedSet:
    ratings = [
        OwnRating("plan", rate(n), replace(RATED.rows[n].answered, task="plan"), {"tone": rate(n)})
        for rate in raters
        for n in range(30)
    ]
    return build_own_expert_sets(ratings)[0]


def test_own_experts_rate_criteria_of_the_same_name() -> None:
    found = _by_criterion(CriteriaJudge(_truth), _own_set(lambda n: 1.0 + n % 10))
    assert (found[("tone", "score")]["answer_count"], found[("tone", "score")]["task"]) == (30, "plan")
    assert found[("tone", "score")]["spearman"] == found[(None, "score")]["spearman"]
    assert ("format", "score") not in found


def test_agreement_between_people_needs_several_ratings_of_an_answer() -> None:
    """It is the ceiling for a judge."""
    alone = _by_criterion(CriteriaJudge(_truth), _own_set(lambda n: 1.0 + n % 10))[(None, BETWEEN_PEOPLE)]
    assert (alone["spearman"], alone["answer_count"]) == (None, 0)
    assert alone["missing_reason"]
    agreed = _by_criterion(CriteriaJudge(_truth), _own_set(*[lambda n: 1.0 + n % 10] * 3))
    assert agreed[(None, BETWEEN_PEOPLE)]["spearman"] == pytest.approx(1.0, abs=1e-9)
    assert agreed[("tone", BETWEEN_PEOPLE)]["spearman"] == pytest.approx(1.0, abs=1e-9)
    opposite = _by_criterion(CriteriaJudge(_truth), _own_set(lambda n: 1.0 + n % 10, lambda n: 10.0 - n % 10))
    assert opposite[(None, BETWEEN_PEOPLE)]["spearman"] < -0.9
