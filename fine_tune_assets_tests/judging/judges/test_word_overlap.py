"""The formula judge: what it rewards and penalizes, and its agreement with clinicians."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.judging.judges.answer_features import FEATURES, measure_answers
from fine_tune_assets.judging.judges.formula_fit import fit_model, is_training_dialogue
from fine_tune_assets.judging.judges.formula_judge import MODEL_FILE, formula_judge, shipped_model
from fine_tune_assets.judging.judges.grades import AnswerPair, GradableAnswer, Grade
from fine_tune_assets.judging.judges.human_agreement import measure_agreement
from fine_tune_assets.judging.judges.judge_qualification import qualify_judge
from fine_tune_assets.judging.judges.labelled_sets import RatedSet, read_labelled_sets, read_rated_summaries

INPUT = "Doctor: How long? Patient: Three weeks. I take 40 mg of lisinopril. No fever."
REFERENCE = "Cough for three weeks. Takes lisinopril 40 mg. Denies fever."
JUDGE = PROJECT_DIR / "data" / "evaluation" / "judge"


def _grades(*outputs: str, reference: str | None = REFERENCE) -> list[Grade]:
    answers = [GradableAnswer(str(n), "t", "Summarize.", INPUT, output, reference) for n, output in enumerate(outputs)]
    return formula_judge().grade(answers, ignore_progress)


def _scores(*outputs: str) -> list[float]:
    return [grade.score for grade in _grades(*outputs) if grade.score is not None]


def test_the_reference_itself_has_the_highest_grade() -> None:
    (grade,) = _grades(REFERENCE)
    assert grade.score == pytest.approx(10.0, abs=1e-6)
    assert {name: one.score for name, one in grade.criteria.items()} == {
        name: pytest.approx(10.0, abs=1e-6) for name in shipped_model().criteria
    }


def test_omissions_and_verbosity_both_lower_the_grade() -> None:
    """Recall alone would reward an answer that repeats the complete conversation."""
    short, verbose, complete = _scores("Cough for three weeks.", f"{REFERENCE} {INPUT} {INPUT}", REFERENCE)
    assert short < complete
    assert verbose < complete


def test_an_unsupported_number_costs_a_point() -> None:
    """A wrong dose is the worst mistake of such a text."""
    wrong, right = _grades(REFERENCE.replace("40 mg", "80 mg"), REFERENCE)
    assert wrong.score is not None
    assert right.score is not None
    assert wrong.score <= right.score - 1
    assert "1 numbers" in wrong.reason


@pytest.mark.parametrize("reference", [None, "", " ", "-"])
def test_without_a_reference_the_grade_is_missing(reference: str | None) -> None:
    """It is missing with a reason, not low."""
    (grade,) = _grades("Cough.", reference=reference)
    assert grade.score is None
    assert "reference" in grade.reason


@pytest.mark.parametrize("output", ["", "  ", "..."])
def test_an_answer_without_words_has_the_lowest_grade(output: str) -> None:
    assert _scores(output) == [1.0]


def test_criteria_that_it_does_not_assess_are_absent() -> None:
    """An invented grade would suggest a check that did not happen."""
    (grade,) = _grades(REFERENCE)
    assert set(grade.criteria) == {"completeness"}


def test_a_reason_contains_no_text_of_a_report() -> None:
    """The Dagster UI shows the reason."""
    (grade,) = _grades("Zebrafinch for 91 weeks.")
    assert "ebrafinch" not in grade.reason
    assert "91" not in grade.reason


def test_a_grade_depends_on_its_answer_alone() -> None:
    """Other answers of the batch and their order have no influence."""
    outputs = ["Cough for three weeks.", REFERENCE, "", "Takes lisinopril."]
    together = _grades(*outputs)
    assert [_grades(output)[0].score for output in outputs] == [grade.score for grade in together]
    many = [REFERENCE[:length] for length in range(3, len(REFERENCE))]
    assert _scores(*many)[:7] == _scores(*many[:7])
    assert [grade.score for grade in _grades(*reversed(outputs))] == [grade.score for grade in reversed(together)]


def test_every_feature_of_the_reference_is_one() -> None:
    """The upper end of the scale depends on it."""
    answer = GradableAnswer("1", "t", "", INPUT, REFERENCE, REFERENCE)
    assert measure_answers([answer])[0] == pytest.approx([1.0] * len(FEATURES), abs=1e-9)


def _pair(first: str, second: str, reference: str | None = REFERENCE) -> AnswerPair:
    return AnswerPair("1", "t", "Summarize.", INPUT, first, second, reference)


def test_a_preference_is_the_same_in_both_orders() -> None:
    """A judge with a position bias must not decide."""
    there, back, even = formula_judge().compare(
        [_pair(REFERENCE, "Cough."), _pair("Cough.", REFERENCE), _pair("Cough.", "Cough.")], ignore_progress
    )
    assert there.probability is not None
    assert back.probability is not None
    assert there.probability == pytest.approx(1 - back.probability, abs=1e-12)
    assert (there.preferred, back.preferred, even.preferred) == (1, 2, 0)
    assert there.is_position_consistent


def test_without_a_reference_the_preference_is_missing() -> None:
    (found,) = formula_judge().compare([_pair(REFERENCE, "Cough.", None)], ignore_progress)
    assert (found.probability, found.is_position_consistent) == (None, None)
    assert "reference" in found.reason


def test_better_features_never_lower_a_grade() -> None:
    """A negative weight would reward omissions."""
    model = shipped_model()
    for scale in (model.overall, *model.criteria.values()):
        assert scale.weights
        assert min(scale.weights.values()) > 0
        raws, grades = zip(*scale.knots, strict=True)
        assert list(raws) == sorted(raws)
        assert list(grades) == sorted(grades)
        assert (grades[0], grades[-1]) == (1.0, 10.0)


def test_fitting_reproduces_the_shipped_weights() -> None:
    """The weights decide promotions and must be reproducible from the data that they name."""
    rated = read_rated_summaries(JUDGE / "rated_summaries.csv")
    again = fit_model(rated)
    shipped = json.loads(MODEL_FILE.read_text(encoding="utf-8"))
    named = ("training_set", "dialogues", "training_groups", "features_version", "hyperparameters")
    assert {name: again[name] for name in named} == {name: shipped[name] for name in named}
    for found, expected in [(again["overall"], shipped["overall"])] + [
        (again["criteria"][name], scale) for name, scale in shipped["criteria"].items()
    ]:
        assert found["weights"] == {name: pytest.approx(w, abs=1e-3) for name, w in expected["weights"].items()}
        assert [grade for _, grade in found["knots"]] == pytest.approx([g for _, g in expected["knots"]], abs=1e-2)
    assert again["preference_slope"] == pytest.approx(shipped["preference_slope"], abs=1e-2)


@pytest.fixture(scope="module")
def measured() -> pa.Table:
    return measure_agreement(formula_judge(), read_labelled_sets(JUDGE), 7.0, ignore_progress)


def test_training_and_measured_dialogues_are_disjoint() -> None:
    """Even dialogues train the judge, odd ones measure it, and no text is in both halves."""
    rated = read_rated_summaries(JUDGE / "rated_summaries.csv")
    fitted = {row.group for row in rated.rows if is_training_dialogue(row)}
    assert fitted == formula_judge().training_groups
    assert len(fitted) == 25
    assert fitted.isdisjoint({row.group for row in rated.rows if not is_training_dialogue(row)})


def test_the_judge_agrees_with_clinicians_as_documented(measured: pa.Table) -> None:
    """docs/explanation/the-judge-is-judged.md states these values."""
    rows = {
        row["human_measure"]: row
        for row in measured.to_pylist()
        if row["spearman"] is not None and not row["criterion"]
    }
    assert {(row["answer_count"], row["excluded_training_count"], row["ungraded_count"]) for row in rows.values()} == {
        (100, 100, 0)
    }
    assert rows["FactualF1"]["spearman"] == pytest.approx(0.635, abs=0.01)
    assert rows["OmissionRate"]["spearman"] == pytest.approx(-0.734, abs=0.01)
    assert rows["HallucinationRate"]["spearman"] == pytest.approx(0.004, abs=0.01)
    assert {row["repeat_max_difference"] for row in rows.values()} == {0.0}
    version = formula_judge().version
    qualification = qualify_judge(measured, version, "any", 0.4)
    assert (qualification.agreement, qualification.failure_reason) == (rows["FactualF1"]["spearman"], "")


def test_pairs_without_a_reference_are_not_guessed(measured: pa.Table) -> None:
    """Preferring the longer answer would be possible but meaningless."""
    pairs = [row for row in measured.to_pylist() if row["human_measure"] == "majority"]
    assert len(pairs) == 4
    assert {(row["answer_count"], row["accuracy"], row["kappa"], row["missing_reason"]) for row in pairs} == {
        (0, None, None, "no reference answer to compare with")
    }


def test_other_weights_are_another_judge() -> None:
    """Another version does not inherit the qualification."""
    shipped = formula_judge()
    changed = replace(shipped, model=replace(shipped.model, fingerprint="changed"))
    assert changed.version != shipped.version


def test_a_set_of_training_answers_measures_nothing() -> None:
    rated = read_rated_summaries(JUDGE / "rated_summaries.csv")
    learned: RatedSet = replace(rated, rows=tuple(row for row in rated.rows if is_training_dialogue(row)))
    table = measure_agreement(formula_judge(), [learned], 7.0, ignore_progress)
    assert set(table.column("answer_count").to_pylist()) == {0}
    assert qualify_judge(table, formula_judge().version, "any", -1.0).agreement is None
