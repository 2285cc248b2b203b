"""Which medicines, doses and frequencies of an answer its input does not support."""

import pytest

from fine_tune_assets.claims.frequencies import extract_frequencies
from fine_tune_assets.claims.medications import find_unsupported_medications
from fine_tune_assets.claims.medicine_names import is_medicine
from fine_tune_assets.claims.prescriptions import extract_prescriptions

TWO = "She takes lisinopril 20 mg once daily and metformin 500 mg twice daily. She is 40."


@pytest.mark.parametrize(
    ("output", "given", "found"),
    [
        ("Start enalapril 20 mg daily.", TWO, ["enalapril 20 mg"]),
        ("On warfarin.", TWO, ["warfarin"]),
        ("Lisinopril 40 mg.", TWO, ["Lisinopril 40 mg"]),
        ("Lisinopril 500 mg, metformin 20 mg.", TWO, ["Lisinopril 500 mg", "metformin 20 mg"]),
        ("Takes 500 mg of lisinopril.", TWO, ["500 mg of lisinopril"]),
        ("Metformin 500 mg once daily.", TWO, ["Metformin 500 mg once daily"]),
        ("Metformin 500 mg q8h.", TWO, ["Metformin 500 mg q8h"]),
        ("Lisinopril 20 mg b.i.d.", TWO, ["Lisinopril 20 mg b.i.d"]),
        ("Albuterol 4 puffs.", "albuterol, two puffs as needed, for 4 days", ["Albuterol 4 puffs"]),
        ("Lantus 30 units at night.", "i take twenty units of lantus at night", ["Lantus 30 units"]),
        ("Hydralazine 25 mg.", "hydroxyzine 25 mg", ["Hydralazine 25 mg"]),
        ("Corvexil 10 mg daily.", "He takes something for it, 10 of them.", ["Corvexil 10 mg"]),
    ],
)
def test_unsupported_medicine_dose_or_frequency_is_found(output: str, given: str, found: list[str]) -> None:
    """Each is a different prescription; most of the numbers do occur in the input."""
    assert find_unsupported_medications(output, given) == found


@pytest.mark.parametrize(
    ("output", "given"),
    [
        ("Lisinopril 20 mg daily, metformin 500 mg bid.", TWO),
        ("Metformin 500 mg every 12 hours.", TWO),
        (
            "Continue metformin 500 mg.",
            "doctor: and the metformin\npatient: yes\ndoctor: five hundred milligrams, right?",
        ),
        ("Motrin 600 mg every 6 to 8 hours.", "some ibuprofen six hundred milligrams every eight hours as needed"),
        ("Metoprolol 5 mg IV.", "they gave me metropolol , five milligrams"),
        ("Depo-Medrol 80 mg.", "he gave you eighty milligrams of depomedrol"),
        ("Methotrexate 7.5 mg weekly.", "methotrexate , i think it's seven and a half milligrams every week"),
        ("Prozac increased from 20 mg to 40 mg.", "we'll increase the prozac from 20 milligrams to 40 milligrams"),
        ("Lisinopril 20 mg daily.", "i take lisinopril , twenty milligrams"),
        ("Glucose 145 mg/dL, HDL 44 mg/dL.", "the sugar was high"),
        ("He walked 20 minutes daily.", "he walks a little"),
        ("", TWO),
        ("Rest.", ""),
    ],
)
def test_prescriptions_in_other_words_are_supported(output: str, given: str) -> None:
    """Brands, spoken numbers, misheard names, and the implied "once a day"."""
    assert find_unsupported_medications(output, given) == []


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("twice daily", [12]), ("bid", [12]), ("b.i.d.", [12]), ("two times a day", [12]), ("every twelve hours", [12]),
        ("q12h", [12]),
        ("morning and night", [12]), ("three times per day", [8]), ("3x daily", [8]), ("tid", [8]), ("q 8 hours", [8]),
        ("q.6h.", [6]), ("four times a day", [6]), ("every 4-6 hours", [4, 6]), ("two to three times a day", [8, 12]),
        ("once a day", [24]), ("daily", [24]), ("qd", [24]), ("at bedtime", [24]), ("every other day", [48]),
        ("once weekly", [168]), ("every week", [168]), ("twice a week", [84]), ("every 2 weeks", [336]), ("as needed", []),
    ],
)  # fmt: skip
def test_every_frequency_phrase_is_converted_to_hours(text: str, hours: list[int]) -> None:
    """Two texts can only be compared in a common unit."""
    assert sorted({one for found in extract_frequencies(text) for one in found.interval_hours}) == hours


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("lisinopril 10 mg, aspirin 81 mg", [("lisinopril", {"10"}), ("aspirin", {"81"})]),
        ("10 mg of methadone and 5 mg of warfarin", [("methadone", {"10"}), ("warfarin", {"5"})]),
        ("Coumadin 4 mg daily; no aspirin.", [("warfarin", {"4"}), ("aspirin", set())]),
        ("Prozac was helpful. The scan took 40 mg of contrast.", [("fluoxetine", set())]),
        ("aspirin\n40 mg", [("aspirin", {"40"})]),
        ("hydrocodone-acetaminophen 5 mg", [("hydrocodone", set()), ("acetaminophen", {"5"})]),
    ],
)
def test_dose_belongs_to_the_adjacent_medicine(text: str, read: list[tuple[str, set[str]]]) -> None:
    """In a list of medicines, each has its own dose."""
    found = extract_prescriptions(text)
    assert [(one.name, set().union(*(dose.values for dose in one.doses))) for one in found] == read


def test_ordinary_words_are_not_medicines() -> None:
    """They have the same endings."""
    assert [
        word for word in ("april", "cholesterol", "cocaine", "alcohol", "comparison", "toxin") if is_medicine(word)
    ] == []
