"""A verifier that does not see the record must be at chance; only balanced pairs make that measurable."""

from collections import Counter

import pytest

from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import Pair, Report, build_pairs, is_balanced

REPORTS = [
    Report(
        "knee",
        "Doctor: How old are you?\nPatient: I'm twenty six.\nDoctor: Which knee hurts?\nPatient: The left knee.\n"
        "Doctor: Any fever?\nPatient: No.\nDoctor: What do you take?\nPatient: Lisinopril forty mg and metformin 500 mg.\n"
        "Patient: My mother had diabetes and my father had asthma.",
        "The patient is 26 years old. Pain in the left knee. Denies fever. Lisinopril 40 mg and metformin 500 mg. "
        "Mother had diabetes, father had asthma.",
    ),
    Report(
        "cough",
        "Doctor: What brings you in?\nPatient: A cough for 3 weeks.\nDoctor: Any rash?\nPatient: Yes.\n"
        "Doctor: Any fever?\nPatient: Yes, I do.\n"
        "Patient: I stopped smoking before Christmas.\nDoctor: Anything else?\nPatient: No, thank you.",
        "Cough for 3 weeks. The patient reports a rash. Reports a fever. He stopped smoking before Christmas.",
    ),
]

NEIGHBORS = {"knee": ("ankle", "elbow"), "smoking": ("drinking",), "christmas": ("easter",)}


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return build_pairs(REPORTS, "training", 1, NEIGHBORS)


def test_each_statement_is_supported_as_often_as_not(pairs: list[Pair]) -> None:
    counts = Counter((pair.statement, pair.label == "supported") for pair in pairs)
    assert all(counts[text, True] == counts[text, False] for text, _ in list(counts))
    assert is_balanced(pairs)


def test_each_record_of_a_term_change_supports_as_often_as_it_contradicts(pairs: list[Pair]) -> None:
    """Otherwise an edited record would give the label away."""
    changed = [pair for pair in pairs if pair.kind in ("number", "dose", "side", "person", "time", "unit")]
    counts = Counter((pair.record, pair.label == "supported") for pair in changed)
    assert changed
    assert all(counts[text, True] == counts[text, False] for text, _ in list(counts))


def test_a_pair_set_with_an_unanswered_error_is_not_balanced(pairs: list[Pair]) -> None:
    assert not is_balanced([pair for pair in pairs if pair.label != "supported"])


def test_the_same_seed_gives_the_same_pairs(pairs: list[Pair]) -> None:
    assert build_pairs(REPORTS, "training", 1, NEIGHBORS) == pairs
    assert build_pairs(REPORTS, "training", 2, NEIGHBORS) != pairs


@pytest.mark.parametrize(
    "kind",
    ["word", "polarity", "number", "dose", "side", "person", "time", "negation", "other note", "finding dropped"],
)
def test_a_short_visit_yields_errors_of_many_kinds(pairs: list[Pair], kind: str) -> None:
    assert kind in {pair.kind for pair in pairs}


def test_a_kind_that_is_left_out_does_not_occur() -> None:
    """Two kinds are left out of the training to measure errors that it never saw."""
    kinds = {pair.kind for pair in build_pairs(REPORTS, "training", 1, NEIGHBORS, frozenset({"dose", "side"}))}
    assert not kinds & {"dose", "side"}


def test_only_the_changed_words_are_wrong(pairs: list[Pair]) -> None:
    wrong = [pair for pair in pairs if pair.kind == "side" and pair.label == "contradicted"]
    words = {pair.statement.split()[at] for pair in wrong for at in pair.wrong_words}
    assert words == {"left", "right"}


def test_supported_pairs_have_no_wrong_words(pairs: list[Pair]) -> None:
    assert not any(pair.wrong_words for pair in pairs if pair.label == "supported")
