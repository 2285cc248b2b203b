"""People, sites, durations and frequencies are compared in all their spellings."""

import time
from pathlib import Path

import pytest

from fine_tune_assets.claims import bound_values
from fine_tune_assets.claims.bound_values import MEDICINE, SIDE, SITE, find_misbound_values
from fine_tune_assets.claims.stated_values import VALUE_CHECKS
from fine_tune_assets.core.word_lists import read_lists

RECORD = (
    "Doctor: How long has it hurt?\nPatient: About two weeks. My mom had the same in her hip.\n"
    "Doctor: Take one tablet twice a day for a year and a couple of months."
)


@pytest.mark.parametrize(
    ("check", "statement", "expected"),
    [
        ("people", "Her mother had hip pain.", []),
        ("people", "Her father and her Sister had hip pain.", ["father", "Sister"]),
        ("sites", "Pain in the hip.", []),
        ("sites", "Pain in the knee.", ["knee"]),
        ("sites", "He came back.", []),
        ("sites", "Pain in the lower back.", ["back"]),
        ("durations", "For 14 days.", []),
        ("durations", "For 12 months and for 2-3 months.", []),
        ("durations", "For 3 weeks.", ["3 weeks"]),
        ("durations", "One tablet three times a day.", []),
        ("durations", "The patient is 50 years old.", []),
        ("frequencies", "One tablet bid.", []),
        ("frequencies", "One tablet every 8 hours.", ["every 8 hours"]),
    ],
)
def test_a_value_that_the_record_lacks_is_found(check: str, statement: str, expected: list[str]) -> None:
    """A false alarm costs a true answer points, a miss lets an invented value pass."""
    assert VALUE_CHECKS[check](statement, RECORD) == expected


def test_a_duration_without_its_unit_is_stated() -> None:
    """People answer a question about weeks with a number."""
    assert VALUE_CHECKS["durations"]("For 3 weeks.", "How many weeks? Three.") == []


CLINICAL = (SIDE, SITE, MEDICINE)
VISIT = (
    "Patient: My right knee has been swollen since Monday. The left ankle is only stiff.\n"
    "Doctor: You take lisinopril 20 mg for your blood pressure.\nPatient: Yes, and furosemide, 40 mg, for the water."
)
FAMILY = "Patient: My father is well for his age, he walks a lot. It was my mother who had a stroke."
CONTRACT = "The seller delivers the goods within 30 days. The buyer pays 500 euros after 14 days."


@pytest.mark.parametrize(
    ("record", "right", "wrong"),
    [
        (VISIT, "Lisinopril 20 mg, furosemide 40 mg.", "Lisinopril 40 mg, furosemide 20 mg."),
        (FAMILY, "Her mother had a stroke.", "Her father had a stroke."),
        (VISIT, "The left ankle is stiff.", "The right ankle is stiff."),
        (CONTRACT, "The buyer pays 500 euros.", "The seller pays 500 euros."),
        ("The cut is on her upper lip.", "Cut on the upper lip.", "Cut on the lower lip."),
    ],
)
def test_a_value_that_belongs_to_something_else_is_found(record: str, right: str, wrong: str) -> None:
    """All of its words are in the record, so no other rule finds it."""
    assert find_misbound_values(right, record, CLINICAL) == []
    assert find_misbound_values(wrong, record, CLINICAL)


def test_sides_sites_and_medicines_count_only_in_a_domain_that_has_them() -> None:
    """A party on the left of a contract is no side of a body."""
    assert find_misbound_values("Left knee swollen.", VISIT, ()) == []


def test_a_word_has_its_opposites_in_one_group() -> None:
    """A second group would replace the first one without a word."""
    groups = read_lists(Path(bound_values.__file__).parent / "reference" / "opposites.txt")["opposites"]
    words = [word for group in groups for word in group.split(", ")]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    "unit",
    ["7 ", "left knee ", "a week ", "back ", "twice a day ", "mother ", "after ", "metoprolol 20 mg ", "a", "1-"],
)
def test_repeated_text_takes_time_in_proportion(unit: str) -> None:
    """Otherwise one report could stop the pipeline. Each run has its own text, since records are kept."""

    def seconds(size: int, run: int) -> float:
        text = (f"{run} " + unit * size)[:size]
        start = time.process_time()
        find_misbound_values(text, text, CLINICAL)
        for check in VALUE_CHECKS.values():
            check(text, text)
        return time.process_time() - start

    short, long = (min(seconds(size, run) for run in range(5)) for size in (2_000, 20_000))
    assert long / max(short, 0.001) <= 15
