"""The task of the correction loop: a rule on the sample's texts, with each dialogue used once."""

import pytest

from examples.correction_loop.handovers import TAUGHT_SECTIONS, Handover, Shares, handover_of, read_visits, share_out
from examples.correction_loop.installation import VISITS
from examples.correction_loop.loop import CORRECTED, ONLY_ASKED, REPORTED
from fine_tune_assets.recipes.loader import load_recipe


def _found(dialogue: str) -> Handover | None:
    return handover_of({"report_id": "v-1", "section_name": "medications", "dialogue": dialogue})


@pytest.fixture(scope="module")
def shares() -> Shares:
    return share_out(read_visits(VISITS), REPORTED, CORRECTED, ONLY_ASKED)


def test_only_the_exact_words_of_the_line_are_correct() -> None:
    """If a nearly correct answer counted, the loop would prove nothing."""
    found = _found("Doctor: And your medicines?\nPatient: I only take iron in the morning.\nDoctor: Good.")
    assert found is not None
    assert found.line == "Handover: medications. Told by: patient. Own words: I only take iron in the morning."
    assert found.is_right(found.line.upper().replace(".", " ."))
    for wrong in (found.line.replace("iron", "zinc"), f"{found.line} Iron.", ""):
        assert not found.is_right(wrong)


@pytest.mark.parametrize(
    "dialogue",
    [
        "Doctor: Only the doctor speaks here, for all of the visit.",
        "Doctor: Well?\nPatient: Yes.",
        "Doctor: Well?\nPatient: I take 20 milligrams of it each morning.",
        "Doctor: Well?\nPatient: It was removed in two thousand and four.",
        "Doctor: Well?\nGuest_clinician: He is fine to go home tomorrow morning.",
        "Doctor: Well?\nPatient: I only take iron in the morning.\n" + "Doctor: And?\n" * 40,
    ],
)
def test_a_dialogue_without_an_unambiguous_line_is_excluded(dialogue: str) -> None:
    """A guessed line would teach the model to guess."""
    assert _found(dialogue) is None


def test_the_sample_is_large_enough_and_no_dialogue_is_used_twice(shares: Shares) -> None:
    """Evaluation questions must not be among the corrections."""
    handovers = (*shares.corrected, *shares.only_asked)
    ids = [visit["report_id"] for visit in shares.reported] + [handover.visit_id for handover in handovers]
    assert (len(shares.reported), len(shares.corrected), len(shares.only_asked)) == (REPORTED, CORRECTED, ONLY_ASKED)
    assert len(set(ids)) == len(ids)
    assert len({handover.input for handover in handovers}) == len(handovers)
    assert "Told by: patient." in shares.only_asked[0].line
    assert all(handover.line.partition("Own words: ")[2] in handover.input for handover in handovers)


def test_every_visit_of_the_first_release_has_a_label_of_its_task(shares: Shares) -> None:
    """A visit without a label yields no example."""
    (task,) = load_recipe("demo_loop").tasks
    assert set(task.labels) == TAUGHT_SECTIONS
    assert {visit["section_name"] for visit in shares.reported} <= TAUGHT_SECTIONS


def test_the_corrections_suffice_for_a_training() -> None:
    """Some are in the test split. With too few others, the loop would wait an hour for a training that is never due."""
    recipe = load_recipe("demo_loop")
    learned = CORRECTED * (1 - recipe.split.validation_fraction - recipe.split.test_fraction)
    assert learned >= 1.5 * max(recipe.corrections.minimum_new, recipe.retrain.minimum_new_examples)
