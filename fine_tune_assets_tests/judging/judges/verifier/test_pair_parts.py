"""The parts that the balanced pairs are made of: terms, answers, inserted turns, passages, paraphrases and the leakage check."""

from random import Random

import pytest

from fine_tune_assets.judging.judges.verifier.normalized_text import normalize_text
from fine_tune_assets.judging.judges.verifier.record_passages import rank_lines, split_lines, split_statements
from fine_tune_assets.judging.judges.verifier.training_data.answer_flips import find_flips
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import Report
from fine_tune_assets.judging.judges.verifier.training_data.inserted_turns import INSERTED_KINDS, write_exchange
from fine_tune_assets.judging.judges.verifier.training_data.leakage import find_leaks
from fine_tune_assets.judging.judges.verifier.training_data.paraphrases import paraphrase
from fine_tune_assets.judging.judges.verifier.training_data.term_changes import TermChange, find_changes, number_changes


def test_a_change_exchanges_both_terms_and_keeps_their_case() -> None:
    change = TermChange("side", "left", "right")
    assert change.apply("Left knee, not the right one.") == "Right knee, not the left one."
    assert change.apply(change.apply("Left and right")) == "Left and right"


def test_a_change_leaves_longer_numbers_alone() -> None:
    assert TermChange("number", "4", "8").apply("4 of 40, 1.4 and 4/10") == "8 of 40, 1.4 and 4/10"


def test_terms_that_the_record_does_not_have_are_not_changed() -> None:
    """The record could not be changed to match."""
    assert find_changes("Pain in the left knee for 3 weeks.", "My back hurts.", Random(1)) == []


def test_a_number_is_sorted_by_what_it_counts() -> None:
    changes = number_changes("Takes 20 mg for 3 weeks at 64 years old.", "20 mg, 3 weeks, 64", Random(1))
    kinds = {change.old: change.kind for change in changes}
    assert (kinds["20"], kinds["3"], kinds["64"]) == ("dose", "time", "number")


def test_a_flip_changes_only_the_answer() -> None:
    (flip,) = find_flips("Doctor: Any fever?\nPatient: No.\nDoctor: Fine.", Random(1))
    changed = [line for line in flip.record.split("\n") if line not in ("Doctor: Any fever?", "Doctor: Fine.")]
    assert len(changed) == 1
    assert changed[0].startswith("Patient: Y")


@pytest.mark.parametrize(
    "answer", ["Patient: I think it was last week.", "Patient: No, but I have a terrible cough and chills."]
)
def test_an_answer_without_a_clear_yes_or_no_is_not_flipped(answer: str) -> None:
    assert list(find_flips(f"Doctor: Any fever?\n{answer}", Random(1))) == []


@pytest.mark.parametrize("kind", INSERTED_KINDS)
def test_measured_phrasings_are_not_trained(kind: str) -> None:
    """Otherwise the measurement would test a memory of phrasings."""
    trained, measured = (
        {write_exchange(kind, part, Random(seed)) for seed in range(200)} for part in ("training", "measurement")
    )
    assert not {e.turns for e in trained} & {e.turns for e in measured}
    assert not {e.statement for e in trained} & {e.statement for e in measured}


def test_numbers_units_and_frequencies_have_one_form() -> None:
    assert normalize_text("twenty  M G b.i.d. at one O two") == "20 mg twice a day at 102"


def test_the_passage_has_the_answer_to_the_matching_question() -> None:
    lines = split_lines(
        "\n".join([*("Doctor: Well.",) * 9, "Doctor: Any fever?", "Patient: No.", *("Patient: So.",) * 9])
    )
    assert [row for row, _ in rank_lines("Denies fever.", lines)][:2] == [9, 10]


def test_a_long_sentence_is_split_at_its_clauses() -> None:
    assert split_statements("He saw Dr. F. No fever. J. Smith came.") == [
        "He saw Dr. F.",
        "No fever.",
        "J. Smith came.",
    ]
    assert len(split_statements("Denies fever. " + "word " * 20 + "and, but " + "word " * 20)) == 3


def test_a_paraphrase_is_another_text() -> None:
    assert paraphrase("Denies fever.", Random(1)) not in (None, "Denies fever.")
    assert paraphrase("Xyz.", Random(1)) is None


def test_a_copied_record_and_a_copied_note_are_leaks() -> None:
    long = "one two three four five six seven eight nine ten"
    reports = [
        Report("a", long, "x"),
        Report("b", "y", f"{long} eleven"),
        Report("c", "Hello.", "z"),
        Report("d", "new", "None."),
    ]
    assert find_leaks(reports, [long, "hello", "None"]) == {"a": "record", "b": "note", "c": "record"}
