"""Labelled sets: the shipped ones and an installation's own ratings."""

from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.judges.grades import GradableAnswer
from fine_tune_assets.judging.judges.labelled_sets import (
    MEASURES,
    OVERALL,
    OWN_MEASURE,
    OwnRating,
    build_own_expert_sets,
    current_fingerprints,
    human_grade,
    human_rating,
    own_ratings_table,
    read_labelled_sets,
    read_own_ratings,
    read_rated_summaries,
)

JUDGE = PROJECT_DIR / "data" / "evaluation" / "judge"


def test_the_shipped_sets_match_their_source_pages() -> None:
    """Measurements cite these counts; the source pages next to the data state them."""
    sets = {labelled.name: labelled for labelled in read_labelled_sets(JUDGE)}
    rated = sets["rated_summaries"]
    assert (len(rated.rows), len({row.group for row in rated.rows})) == (200, 50)
    assert set(rated.measures) == set(MEASURES) - {OWN_MEASURE}
    assert sets.keys() == current_fingerprints(JUDGE).keys()
    assert {name: labelled.fingerprint for name, labelled in sets.items()} == current_fingerprints(JUDGE)


@pytest.mark.parametrize(("measure", "worst", "best"), [(name, *ends) for name, ends in MEASURES.items()])
def test_every_human_measure_maps_its_best_value_to_ten(measure: str, worst: float, best: float) -> None:
    """An omission rate of 0 is a 10, and a factual F1 of 0 is a 1."""
    assert (human_grade(measure, worst), human_grade(measure, best)) == (1.0, 10.0)
    assert human_grade(measure, human_rating(measure, 7.0)) == pytest.approx(7.0, abs=1e-9)


def _answered(output: str, task: str = "summary") -> GradableAnswer:
    return GradableAnswer("any", task, "Summarize.", "He coughs.", output, "Cough.")


def test_own_ratings_are_grouped_by_task_and_each_answer_counts_once() -> None:
    """Several ratings of one answer count as one, their mean."""
    ratings = [OwnRating("summary", 8.0, _answered("Cough.")), OwnRating("summary", 6.0, _answered("Cough."))]
    ratings += [OwnRating("summary", 2.0, _answered("Fever.")), OwnRating("plan", 5.0, _answered("Rest.", "plan"))]
    plan, summary = build_own_expert_sets(ratings)
    assert (plan.task, summary.task) == ("plan", "summary")
    assert sorted(row.ratings[OWN_MEASURE] for row in summary.rows) == [2.0, 7.0]
    assert build_own_expert_sets(reversed(ratings)) == [plan, summary]


def test_another_rating_is_another_set() -> None:
    """A qualification based on the old ratings expires."""
    (before,) = build_own_expert_sets([OwnRating("summary", 8.0, _answered("Cough."))])
    (after,) = build_own_expert_sets([OwnRating("summary", 7.0, _answered("Cough."))])
    assert before.fingerprint != after.fingerprint


def test_ratings_of_a_criterion_are_kept_by_person() -> None:
    """A rater may skip a criterion, and a changed rating of one is another set."""
    ratings = [
        OwnRating("summary", 8.0, _answered("Cough."), {"tone": 4.0}),
        OwnRating("summary", 6.0, _answered("Cough."), {"tone": 7.0}),
        OwnRating("summary", 6.0, _answered("Cough.")),
    ]
    (found,) = build_own_expert_sets(ratings)
    assert found.rows[0].given == {OVERALL: (6.0, 6.0, 8.0), "tone": (4.0, 7.0)}
    assert (found.rows[0].criterion_rating("tone"), found.rows[0].criterion_rating("format")) == (5.5, None)
    (other,) = build_own_expert_sets([replace(ratings[0], criteria={"tone": 5.0}), *ratings[1:]])
    assert other.fingerprint != found.fingerprint


def test_own_ratings_survive_the_transfer_to_a_worker(tmp_path: Path) -> None:
    """A lost task, score or reference would qualify the judge for the wrong task."""
    bare = replace(_answered("Fever.", "plan"), reference=None)
    ratings = [OwnRating("summary", 8.0, _answered("Cough."), {"tone": 3.0}), OwnRating("plan", 2.5, bare)]
    write_table(tmp_path / "own.parquet", own_ratings_table(ratings))
    assert read_own_ratings(tmp_path / "own.parquet") == build_own_expert_sets(ratings)


def test_missing_rated_answers_close_the_gate(tmp_path: Path) -> None:
    with pytest.raises(GateClosedError, match=r"rated_summaries\.csv"):
        read_labelled_sets(tmp_path)


@pytest.mark.parametrize("content", ["", "ID,Dialogue\n1,SECRETWORD\n"])
def test_a_damaged_file_closes_the_gate_without_quoting_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "rated.csv").write_text(content)
    with pytest.raises(GateClosedError, match=r"rated\.csv") as caught:
        read_rated_summaries(tmp_path / "rated.csv")
    assert "SECRETWORD" not in str(caught.value)
    assert caught.value.__cause__ is None
