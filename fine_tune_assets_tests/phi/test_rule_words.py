"""Names, numbers and places found by the words around them, with rules alone."""

import pytest

from fine_tune_assets_tests.phi.partial_scrub import by_rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Driven by coworker Bastian, at noon.", "Driven by coworker [NAME], at noon."),
        ("Her roommate Ylva called.", "Her roommate [NAME] called."),
        ("Splint made with OT Suneeta.", "Splint made with OT [NAME]."),
        ("Time-out w/ tech Odalys.", "Time-out w/ tech [NAME]."),
        ("Brought in by dtr Maelle; sib Anouk, 4, has a cold.", "Brought in by dtr [NAME]; sib [NAME], 4, has a cold."),
        ("Ask the teacher about it. Chaplain Services came.", "Ask the teacher about it. Chaplain Services came."),
        ("Seen with PT Evaluation and by RN. Teacher IEP.", "Seen with PT Evaluation and by RN. Teacher IEP."),
    ],
)
def test_name_after_a_role_is_removed(text: str, expected: str) -> None:
    """A role takes the position of a title."""
    assert by_rules(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12B  O'DOWD, FIACHRA  71M  CHF", "12B  [NAME]  71M  CHF"),
        ("2. VAN LOON, Mirte - 48, cirrhosis", "2. [NAME] - 48, cirrhosis"),
        ("Kids (Ottilie 7, Bram 4) are well.", "Kids ([NAME]) are well."),
        ("Seen today.\nQRT/bsk   D: today", "Seen today.\n[NAME]   D: today"),
        ("Crutches given.\n-QRT", "Crutches given.\n-[NAME]"),
        ("NAUSEA, VOMITING, 3 days.\nBP/hr normal.", "NAUSEA, VOMITING, 3 days.\nBP/hr normal."),
        ("Sons 2, daughters 3.", "Sons 2, daughters 3."),
    ],
)  # fmt: skip
def test_names_in_lists_and_closing_initials_are_removed(text: str, expected: str) -> None:
    """Hand-over lists and dictations have no sentence around a name."""
    assert by_rules(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("his number is five one three five five five oh one", "his number is [PHONE]"),
        ("record number four four one nine two", "record number [ID]"),
        ("the reference is b k dash three one six two", "the reference is [ID]"),
        ("take one or two of three; in order to one", "take one or two of three; in order to one"),
        ("count one two three four five six seven", "count one two three four five six seven"),
    ],
)
def test_spelled_numbers_are_removed(text: str, expected: str) -> None:
    """Dictation spells numbers."""
    assert by_rules(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call 513•555•0123.", "Call [PHONE]."),
        ("Case manager at x4419, or p5520.", "Case manager at x[PHONE], or p[PHONE]."),
        ("Mail to ada.l(at)post.example today.", "Mail to [EMAIL] today."),
        ("Seen x4 days; diluted x1000, x2500 mg.", "Seen x4 days; diluted x1000, x2500 mg."),
        ("The clinic on Alder Road.", "The clinic on [LOCATION]."),
        ("Crash near exit 41 today.", "Crash near [LOCATION] today."),
        ("On a long road; on exit he fell.", "On a long road; on exit he fell."),
    ],
)
def test_abbreviated_contact_details_are_removed(text: str, expected: str) -> None:
    """Notes abbreviate telephones and addresses too."""
    assert by_rules(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Adaora Quixley, MD", "[NAME]"),
        ("Lives in Tall Quixley, MD today.", "Lives in [LOCATION] today."),
        ("Quixley Falls, PA", "[LOCATION]"),
        ("Quill Dorset, PA 15001", "[LOCATION]"),
        ("Penmoor, MD", "[LOCATION]"),
    ],
)
def test_two_words_with_a_degree_are_a_person(text: str, expected: str) -> None:
    """MD is also Maryland; the kind decides which surrogate is used."""
    assert by_rules(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Repair by Noor al-Quixley, CNM.", "Repair by [NAME], CNM."),
        ("Mirte Quixley CCC-SLP came", "[NAME] CCC-SLP came"),
        ("device 13:51 (door to balloon)", "device 13:51 (door to balloon)"),
        ("visit 11 of 16", "visit 11 of 16"),
        ("visit 11-204", "visit [ID]"),
    ],
)
def test_further_degrees_and_numbers_that_are_not_ids(text: str, expected: str) -> None:
    """Times and counts follow the same words as identifiers."""
    assert by_rules(text) == expected
