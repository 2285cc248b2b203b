"""Word overlap with the reference: what it rewards and penalizes, and its agreement with clinicians."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.judges.answer_features import FEATURES, measure_answers
from fine_tune_assets.judging.judges.grades import GradableAnswer
from fine_tune_assets.judging.judges.labelled_sets import read_rated_summaries
from fine_tune_assets.judging.judges.word_overlap import MODEL_FILE, word_overlap
from fine_tune_assets.judging.judges.word_overlap_fit import fit_model, is_training_dialogue
from fine_tune_assets.judging.statistics.association import spearman

INPUT = "Doctor: How long? Patient: Three weeks. I take 40 mg of lisinopril. No fever."
REFERENCE = "Cough for three weeks. Takes lisinopril 40 mg. Denies fever."
RATED = PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv"


def _grades(*outputs: str, reference: str | None = REFERENCE) -> list[float | None]:
    answers = [GradableAnswer(str(n), "t", "Summarize.", INPUT, output, reference) for n, output in enumerate(outputs)]
    return word_overlap().grade(answers)


def _scores(*outputs: str) -> list[float]:
    return [grade for grade in _grades(*outputs) if grade is not None]


def test_the_reference_itself_has_the_highest_grade() -> None:
    assert _grades(REFERENCE) == [pytest.approx(10.0, abs=1e-6)]


def test_omissions_and_verbosity_both_lower_the_grade() -> None:
    """Recall alone would reward an answer that repeats the complete conversation."""
    short, verbose, complete = _scores("Cough for three weeks.", f"{REFERENCE} {INPUT} {INPUT}", REFERENCE)
    assert short < complete
    assert verbose < complete


def test_an_unsupported_number_costs_a_point() -> None:
    """A wrong dose is the worst mistake of such a text."""
    wrong, right = _scores(REFERENCE.replace("40 mg", "80 mg"), REFERENCE)
    assert wrong <= right - 1


@pytest.mark.parametrize("reference", [None, "", " ", "-"])
def test_without_a_reference_the_grade_is_missing(reference: str | None) -> None:
    """It is missing, not low."""
    assert _grades("Cough.", reference=reference) == [None]


@pytest.mark.parametrize("output", ["", "  ", "..."])
def test_an_answer_without_words_has_the_lowest_grade(output: str) -> None:
    assert _grades(output) == [1.0]


def test_a_grade_depends_on_its_answer_alone() -> None:
    """Other answers of the batch and their order have no influence."""
    outputs = ["Cough for three weeks.", REFERENCE, "", "Takes lisinopril."]
    together = _grades(*outputs)
    assert [_grades(output)[0] for output in outputs] == together
    many = [REFERENCE[:length] for length in range(3, len(REFERENCE))]
    assert _grades(*many)[:7] == _grades(*many[:7])
    assert _grades(*reversed(outputs)) == together[::-1]


def test_every_feature_of_the_reference_is_one() -> None:
    """The upper end of the scale depends on it."""
    answer = GradableAnswer("1", "t", "", INPUT, REFERENCE, REFERENCE)
    assert measure_answers([answer])[0] == pytest.approx([1.0] * len(FEATURES), abs=1e-9)


def test_better_features_never_lower_a_grade() -> None:
    """A negative weight would reward omissions."""
    shipped = word_overlap()
    assert min(shipped.weights.values()) > 0
    raws, grades = zip(*shipped.knots, strict=True)
    assert list(raws) == sorted(raws)
    assert list(grades) == sorted(grades)
    assert (grades[0], grades[-1]) == (1.0, 10.0)


def test_fitting_reproduces_the_shipped_weights() -> None:
    """The weights take part in promotions and must be reproducible from the data that they name."""
    again = fit_model(read_rated_summaries(RATED))
    shipped = json.loads(MODEL_FILE.read_text(encoding="utf-8"))
    named = ("training_set", "dialogues", "training_groups", "features_version", "hyperparameters")
    assert {name: again[name] for name in named} == {name: shipped[name] for name in named}
    found, expected = again["overall"], shipped["overall"]
    assert found["weights"] == {name: pytest.approx(w, abs=1e-3) for name, w in expected["weights"].items()}
    assert [grade for _, grade in found["knots"]] == pytest.approx([g for _, g in expected["knots"]], abs=1e-2)


def test_training_and_measured_dialogues_are_disjoint() -> None:
    """Even dialogues fit the weights, odd ones measure judges, and no text is in both halves."""
    rows = read_rated_summaries(RATED).rows
    fitted = {row.group for row in rows if is_training_dialogue(row)}
    assert fitted == word_overlap().training_groups
    assert len(fitted) == 25
    assert fitted.isdisjoint({row.group for row in rows if not is_training_dialogue(row)})


def test_word_overlap_agrees_with_clinicians_as_documented() -> None:
    """benchmarks/results/formula-judge.md and rules-as-evidence.md state these values as the baseline."""
    rows = [row for row in read_rated_summaries(RATED).rows if not is_training_dialogue(row)]
    grades = np.array(word_overlap().grade([row.answered for row in rows]), dtype=float)
    found = {name: spearman(grades, np.array([row.ratings[name] for row in rows])) for name in rows[0].ratings}
    assert found["FactualF1"] == pytest.approx(0.635, abs=0.01)
    assert found["OmissionRate"] == pytest.approx(-0.734, abs=0.01)
    assert found["HallucinationRate"] == pytest.approx(0.004, abs=0.01)


def test_other_weights_are_another_version() -> None:
    """The version is part of the judge's, so another one does not inherit a qualification."""
    assert replace(word_overlap(), fingerprint="changed").version != word_overlap().version
