"""The judge without a second model: what it rewards, what it punishes, and how well it agrees with clinicians."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import silent
from fine_tune_assets.judging.judges.agreement import measure_agreement
from fine_tune_assets.judging.judges.features import FEATURES, measure_answers
from fine_tune_assets.judging.judges.grades import Answered, Grade, Pair
from fine_tune_assets.judging.judges.labelled_sets import RatedSet, read_labelled_sets, read_rated_summaries
from fine_tune_assets.judging.judges.offline_judge import MODEL_FILE, offline_judge, shipped_model
from fine_tune_assets.judging.judges.offline_judge_fit import fit_model, is_fitted_on
from fine_tune_assets.judging.judges.qualification import licence_of

INPUT = "Doctor: How long? Patient: Three weeks. I take 40 mg of lisinopril. No fever."
REFERENCE = "Cough for three weeks. Takes lisinopril 40 mg. Denies fever."
JUDGE = PROJECT_DIR / "data" / "evaluation" / "judge"


def _grades(*outputs: str, reference: str | None = REFERENCE) -> list[Grade]:
    answers = [Answered(str(n), "t", "Summarise.", INPUT, output, reference) for n, output in enumerate(outputs)]
    return offline_judge().grade(answers, silent)


def _scores(*outputs: str) -> list[float]:
    return [grade.score for grade in _grades(*outputs) if grade.score is not None]


def test_the_reference_itself_has_the_highest_grade() -> None:
    (grade,) = _grades(REFERENCE)
    assert grade.score == pytest.approx(10.0, abs=1e-6)
    assert {name: one.score for name, one in grade.criteria.items()} == {
        name: pytest.approx(10.0, abs=1e-6) for name in shipped_model().criteria
    }


def test_an_omission_and_a_ramble_both_cost() -> None:
    """Recall alone would reward an answer that repeats the whole conversation."""
    short, ramble, whole = _scores("Cough for three weeks.", f"{REFERENCE} {INPUT} {INPUT}", REFERENCE)
    assert short < whole
    assert ramble < whole


def test_a_number_that_the_input_does_not_hold_costs_a_point() -> None:
    """A wrong dose is the worst mistake such a text can make."""
    wrong, right = _grades(REFERENCE.replace("40 mg", "80 mg"), REFERENCE)
    assert wrong.score is not None
    assert right.score is not None
    assert wrong.score <= right.score - 1
    assert "1 numbers in neither input nor reference" in wrong.reason


@pytest.mark.parametrize("reference", [None, "", " ", "-"])
def test_without_a_reference_the_grade_is_missing(reference: str | None) -> None:
    """Missing, with a reason, and not a low grade."""
    (grade,) = _grades("Cough.", reference=reference)
    assert grade.score is None
    assert "reference" in grade.reason


@pytest.mark.parametrize("output", ["", "  ", "..."])
def test_an_answer_without_words_has_the_lowest_grade(output: str) -> None:
    assert _scores(output) == [1.0]


def test_what_it_can_not_see_it_does_not_grade() -> None:
    """A criterion that is absent can't pass anybody."""
    (grade,) = _grades(REFERENCE)
    assert set(grade.criteria) == {"completeness"}


def test_a_reason_holds_no_text_of_a_report() -> None:
    """It is shown in the Dagster UI."""
    (grade,) = _grades("Zebrafinch for 91 weeks.")
    assert "ebrafinch" not in grade.reason
    assert "91" not in grade.reason


def test_a_grade_depends_on_its_answer_alone() -> None:
    """Neither on the answers beside it nor on their order: the same answer has the same grade in every run."""
    outputs = ["Cough for three weeks.", REFERENCE, "", "Takes lisinopril."]
    together = _grades(*outputs)
    assert [_grades(output)[0].score for output in outputs] == [grade.score for grade in together]
    many = [REFERENCE[:length] for length in range(3, len(REFERENCE))]
    assert _scores(*many)[:7] == _scores(*many[:7])
    assert [grade.score for grade in _grades(*reversed(outputs))] == [grade.score for grade in reversed(together)]


def test_every_figure_of_the_reference_is_one() -> None:
    """The upper end of the scale rests on it."""
    answer = Answered("1", "t", "", INPUT, REFERENCE, REFERENCE)
    assert measure_answers([answer])[0] == pytest.approx([1.0] * len(FEATURES), abs=1e-9)


def _pair(first: str, second: str, reference: str | None = REFERENCE) -> Pair:
    return Pair("1", "t", "Summarise.", INPUT, first, second, reference)


def test_a_preference_is_the_same_in_both_orders() -> None:
    """No judge that prefers a place can decide."""
    there, back, even = offline_judge().compare(
        [_pair(REFERENCE, "Cough."), _pair("Cough.", REFERENCE), _pair("Cough.", "Cough.")], silent
    )
    assert there.probability is not None
    assert back.probability is not None
    assert there.probability == pytest.approx(1 - back.probability, abs=1e-12)
    assert (there.preferred, back.preferred, even.preferred) == (1, 2, 0)
    assert there.is_consistent


def test_without_a_reference_there_is_no_preference() -> None:
    (found,) = offline_judge().compare([_pair(REFERENCE, "Cough.", None)], silent)
    assert (found.probability, found.is_consistent) == (None, None)
    assert "reference" in found.reason


def test_better_figures_never_lower_a_grade() -> None:
    """A negative weight would reward leaving something out."""
    model = shipped_model()
    for scale in (model.overall, *model.criteria.values()):
        assert scale.weights
        assert min(scale.weights.values()) > 0
        raws, grades = zip(*scale.knots, strict=True)
        assert list(raws) == sorted(raws)
        assert list(grades) == sorted(grades)
        assert (grades[0], grades[-1]) == (1.0, 10.0)


def test_fitting_again_gives_the_shipped_weights() -> None:
    """What decides a promotion can be made again by anybody, from the data that it names."""
    rated = read_rated_summaries(JUDGE / "rated_summaries.csv")
    again = fit_model(rated)
    shipped = json.loads(MODEL_FILE.read_text(encoding="utf-8"))
    named = ("rated", "dialogues", "fitted_on", "features_version", "chosen")
    assert {name: again[name] for name in named} == {name: shipped[name] for name in named}
    for found, expected in [(again["overall"], shipped["overall"])] + [
        (again["criteria"][name], scale) for name, scale in shipped["criteria"].items()
    ]:
        assert found["weights"] == {name: pytest.approx(w, abs=1e-3) for name, w in expected["weights"].items()}
        assert [grade for _, grade in found["knots"]] == pytest.approx([g for _, g in expected["knots"]], abs=1e-2)
    assert again["preference_slope"] == pytest.approx(shipped["preference_slope"], abs=1e-2)


@pytest.fixture(scope="module")
def measured() -> pa.Table:
    return measure_agreement(offline_judge(), read_labelled_sets(JUDGE), 7.0, silent)


def test_it_is_measured_on_the_dialogues_that_it_was_not_fitted_on() -> None:
    """Fitted on the even ones, measured on the odd ones, and no text is in both halves."""
    rated = read_rated_summaries(JUDGE / "rated_summaries.csv")
    fitted = {row.group for row in rated.rows if is_fitted_on(row)}
    assert fitted == offline_judge().fitted_on
    assert len(fitted) == 25
    assert fitted.isdisjoint({row.group for row in rated.rows if not is_fitted_on(row)})


def test_the_judge_agrees_with_clinicians_as_documented(measured: pa.Table) -> None:
    """The figures in docs/explanation/the-judge-is-judged.md are these: they must stay true."""
    rows = {row["human_measure"]: row for row in measured.to_pylist() if row["labelled_set"] == "rated_summaries"}
    assert {(row["answers"], row["fitted"], row["missing"]) for row in rows.values()} == {(100, 100, 0)}
    assert rows["FactualF1"]["spearman"] == pytest.approx(0.635, abs=0.01)
    assert rows["OmissionRate"]["spearman"] == pytest.approx(-0.734, abs=0.01)
    assert rows["HallucinationRate"]["spearman"] == pytest.approx(0.004, abs=0.01)
    assert {row["repeated_difference"] for row in rows.values()} == {0.0}
    version = offline_judge().version
    licence = licence_of(measured, version, "any", 0.4)
    assert (licence.agreement, licence.why_not) == (rows["FactualF1"]["spearman"], "")


def test_pairs_without_a_reference_are_no_guess(measured: pa.Table) -> None:
    """It could say which answer is longer; that is not what people were asked."""
    pairs = [row for row in measured.to_pylist() if row["human_measure"] == "majority"]
    assert len(pairs) == 4
    assert {(row["answers"], row["accuracy"], row["kappa"], row["why"]) for row in pairs} == {
        (0, None, None, "no reference answer to compare with")
    }


def test_other_weights_are_another_judge() -> None:
    """And have no licence."""
    shipped = offline_judge()
    changed = replace(shipped, model=replace(shipped.model, fingerprint="changed"))
    assert changed.version != shipped.version


def test_a_set_that_it_learned_from_wholly_measures_nothing() -> None:
    rated = read_rated_summaries(JUDGE / "rated_summaries.csv")
    learned: RatedSet = replace(rated, rows=tuple(row for row in rated.rows if is_fitted_on(row)))
    table = measure_agreement(offline_judge(), [learned], 7.0, silent)
    assert set(table.column("answers").to_pylist()) == {0}
    assert licence_of(table, offline_judge().version, "any", -1.0).agreement is None
