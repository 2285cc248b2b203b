"""Known identifiers in a text, and the same characters with another meaning."""

from itertools import permutations

import pytest

from fine_tune_assets_tests.phi.partial_scrub import scrubbed


@pytest.mark.parametrize(("stated", "written"), list(permutations("'’ʼ‘", 2)))
def test_name_is_found_with_any_apostrophe(stated: str, written: str) -> None:
    """Systems write ', word processors ’: otherwise O'Brien would stay in every report written in Word."""
    value = f"Mary O{stated}Brien"
    assert scrubbed(f"Mary O{written}Brien rests.", "name", value) == "[NAME] rests."
    assert scrubbed(f"Dr. o{written}brien{written}s note", "name", value) == "Dr. [NAME] note"


@pytest.mark.parametrize("apostrophe", "'’ʼ‘")
def test_possessive_is_removed_with_its_name(apostrophe: str) -> None:
    """Python counts ʼ as a letter, so Quixleyʼs would be another word."""
    assert scrubbed(f"Quixley{apostrophe}s arm; {apostrophe}Quixley{apostrophe}", "name", "Quixley") == (
        f"[NAME] arm; {apostrophe}[NAME]{apostrophe}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "Take 5 tablets.",
        "Take 5 of them.",
        "0.5 mg, 5.5 mg, 5,000 units",
        "BP 120/5, 5/10 pain, 5 / 5 strength, 120 /5",
        "5% of 5 mg",
        "The patient is 5 years old.",
        "patient 5 days after",
        "There were no 5 left.",
        "ID 5.5, no. 5 mg, #5/10",
        "Identify 5; recorded 5; piano.5",
    ],
)
def test_small_id_spares_other_numbers(text: str) -> None:
    """Otherwise every dose of patient 5 would be masked, and a model would learn to write [ID] for a dose."""
    assert scrubbed(text, "id", "5") == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MRN 5, seen.", "MRN [ID], seen."),
        ("mrn: 5.", "mrn: [ID]."),
        ("Patient ID is 5", "Patient ID is [ID]"),
        ("No. 5 and #5 and # 5", "No. [ID] and #[ID] and # [ID]"),
        ("Patient number 5; patient no 5; Patient 5's arm", "Patient number [ID]; patient no [ID]; Patient [ID]'s arm"),
        ("Chart (5) ID-5, Pt. 5, case #5", "Chart ([ID]) ID-[ID], Pt. [ID], case #[ID]"),
        ("Patient (MRN): 5, **MRN:** 5 days, | MRN | 5 |", "Patient (MRN): [ID], **MRN:** [ID] days, | MRN | [ID] |"),
        ("MRN5 MRN:\n5", "MRN[ID] MRN:\n[ID]"),
    ],
)
def test_small_id_is_removed_after_a_label(text: str, expected: str) -> None:
    """There it names the patient, however small it is."""
    assert scrubbed(text, "id", "5") == expected


def test_longer_id_is_removed_unless_it_is_a_quantity() -> None:
    """No other subject's id has the same five digits; a dose may."""
    known = "50000"
    assert scrubbed("She, 50000, rests. See 50000-b, 50000 M, x:50000.", "id", known) == (
        "She, [ID], rests. See [ID]-b, [ID] M, x:[ID]."
    )
    labelled = "Pt. 50000 times two, Hosp. #: 50000/2, Hospital no: 50000 days later, MRN 50000 per chart"
    assert "50000" not in scrubbed(labelled, "id", known)
    quantities = "50000 units, 50000 IU, 50000%, 0.50000, 50000.5, 50000/50000, 150000, 50000-mg"
    assert scrubbed(quantities, "id", known) == quantities


def test_other_ids_and_kinds_are_found_verbatim() -> None:
    """The rule covers quantities, and only ids look like quantities by chance."""
    assert scrubbed("Saw A5 and a5.", "id", "A5") == "Saw [ID] and [ID]."
    assert scrubbed("Call 5551.", "phone", "5551") == "Call [PHONE]."
