"""How a report is read as sections."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.claims.sections import (
    Section,
    find_section,
    headings_within_a_line,
    section_names,
    section_texts,
    split_sections,
    words_cut_off,
)

_WHOLE = "HISTORY OF PRESENT ILLNESS"


def test_a_section_ends_at_the_next_heading() -> None:
    """An input that ran on into the plan would show the model the answer."""
    assert section_texts("HISTORY\nFell.\n\nPAST HISTORY\nNone.\n\nPLAN\nRest.") == {
        "HISTORY": "Fell.",
        "PAST HISTORY": "None.",
        "PLAN": "Rest.",
    }


def test_a_heading_that_a_task_names_is_found_in_any_case_and_with_a_colon() -> None:
    """Clinics write headings as they like."""
    text = "Assessment and  Plan:\nRest."
    assert section_texts(text, ["ASSESSMENT AND PLAN"]) == {"ASSESSMENT AND PLAN": "Rest."}
    assert section_texts(text) == {"": text}


def test_a_heading_in_small_letters_needs_its_colon() -> None:
    """A record that says which section it is about, in plain words, would lose its own text otherwise."""
    named = ["CHIEF COMPLAINT", "NOTE SECTION", "DIALOGUE"]
    text = "NOTE SECTION\n\nchief complaint\n\nDIALOGUE\n\nDoctor: What is it?"
    assert section_texts(text, named) == {"NOTE SECTION": "chief complaint", "DIALOGUE": "Doctor: What is it?"}
    assert section_texts("chief complaint:\nCough.", named) == {"CHIEF COMPLAINT": "Cough."}


def test_a_scrubbed_tag_and_a_measurement_are_no_headings() -> None:
    """A line that holds only [NAME] would otherwise cut its section in two."""
    assert section_texts("PLAN\n[NAME]\nBP 120/80\nOK\nRest.") == {"PLAN": "[NAME]\nBP 120/80\nOK\nRest."}


def test_a_heading_inside_a_sentence_starts_no_section() -> None:
    """Only a line of its own is a heading."""
    assert section_texts("PLAN\nThe PLAN is rest.\nPLAN: rest") == {"PLAN": "The PLAN is rest.\nPLAN: rest"}


def test_a_heading_that_occurs_twice_holds_both_texts() -> None:
    """Addenda repeat a heading; neither text may be lost."""
    assert section_texts("PLAN\nRest.\nEXAM\nFine.\nPLAN\nIce.")["PLAN"] == "Rest.\n\nIce."


def test_text_before_the_first_heading_is_kept_without_a_heading() -> None:
    """Splitting loses no line."""
    assert [s.heading for s in split_sections("Dear colleague\nPLAN\n")] == ["", "PLAN"]
    assert split_sections("") == []


@pytest.mark.parametrize("line", ["NKDA", "SOBAR", "EKG", "PAIN STILL PRESENT NOW", "TSH, FBC,", "MSK:", "PMH:"])
def test_a_line_in_capitals_inside_a_note_is_text(line: str) -> None:
    """Doctors write abbreviations in capitals. Taken for headings, they cut off allergies, history and plan."""
    note = f"DH: none\n{line}\nImp: gastroenteritis\n\nPlan:\nFluids."
    assert section_texts(f"NOTE\n\n{note}", ["NOTE"]) == {"NOTE": note}


@pytest.mark.parametrize("line", ["NKDA", "STABLE", "HPC:"])
def test_an_abbreviation_in_a_paragraph_of_its_own_is_text(line: str) -> None:
    """A blank line before it makes a single unknown word no heading."""
    note = f"Lives alone.\n\n{line}\nOlder history."
    assert section_texts(f"NOTE\n\n{note}", ["NOTE"]) == {"NOTE": note}


def test_what_only_looks_like_a_heading_starts_a_section_that_is_not_sure() -> None:
    """Departments have headings that no list knows. What is cut at one must be seen."""
    sections = split_sections("PLAN\nRest.\n\nFOOT SURGERY CLINIC\nIce.\n\nALLERGIES\nNone.")
    assert [(s.heading, s.is_sure) for s in sections] == [
        ("PLAN", True), ("FOOT SURGERY CLINIC", False), ("ALLERGIES", True),
    ]  # fmt: skip
    assert words_cut_off(sections, ["PLAN"]) == 4
    assert words_cut_off(sections, ["ALLERGIES"]) == 0
    named = split_sections("PLAN\nRest.\n\nFOOT SURGERY CLINIC\nIce.", ["FOOT SURGERY CLINIC"])
    assert words_cut_off(named, ["PLAN"]) == 0


def test_a_closing_line_in_capitals_is_text() -> None:
    """A heading with nothing under it would only lose its own words."""
    text = "PLAN\nRest.\n\nNO KNOWN DRUG ALLERGIES\n\nEXAM\nFine."
    assert section_texts(text)["PLAN"] == "Rest.\n\nNO KNOWN DRUG ALLERGIES"


def test_a_record_that_names_a_section_in_its_text_keeps_it() -> None:
    """`Chief Complaint` in the cell of a record is a heading by its letters and stands where text belongs."""
    named = ["CHIEF COMPLAINT", "NOTE SECTION", "DIALOGUE"]
    text = "NOTE SECTION\n\nChief Complaint\n\nDIALOGUE\n\nDoctor: What is it?"
    assert section_texts(text, named) == {"NOTE SECTION": "Chief Complaint", "DIALOGUE": "Doctor: What is it?"}


def test_a_heading_written_in_two_ways_holds_both_texts() -> None:
    """A report with HPI and with the whole words has two parts of one section; neither is lost."""
    texts = section_texts("HPI\nFell.\n\nEXAM\nFine.\n\nHistory of present illness\nOn ice.", ["HPI", _WHOLE])
    assert find_section(texts, ("HPI", _WHOLE)) == ("HPI", "Fell.\n\nOn ice.")
    texts = section_texts("ASSESSMENT\nSprain.\n\nASSESSMENT AND PLAN\nRest.")
    assert find_section(texts, "/assessment.*/") == ("ASSESSMENT", "Sprain.\n\nRest.")


def test_text_before_the_first_heading_is_no_section_of_a_pattern() -> None:
    """A letterhead is not what `/.*/` means."""
    assert find_section({"": "Dear colleague"}, "/.*/") is None


def test_a_named_heading_before_text_on_its_line_is_counted() -> None:
    """It starts no section, so a report in this style makes no draft and somebody has to know why."""
    text = "Plan: ice\nPLAN: rest\nThe PLAN: none\nEXAM: fine"
    assert headings_within_a_line(text, ["PLAN", "/ex.*/"]) == {"PLAN"}


def test_known_names_are_headings_in_the_form_in_which_they_are_compared() -> None:
    """One with a colon or in small letters would never be found."""
    names = section_names()
    assert len(names) > 100
    assert [name for name in names if split_sections(f"{name}\nText.") != [Section(name, "Text.")]] == []


_LINES = st.sampled_from(
    ["", "PLAN", "Plan", "plan", "NKDA", "HPC:", "FOOT CLINIC", "FOOT CLINIC:", "EXAM", "Fine.", "a b"]
)


@given(st.lists(_LINES, max_size=14))
def test_splitting_loses_no_line(lines: list[str]) -> None:
    """Whatever the lines are, each is a heading or stands in the text of a section, in its order."""
    sections = split_sections("\n".join(lines), ["PLAN"])
    found = [word for s in sections for word in f"{s.heading}\n{s.text}".upper().replace(":", "").split()]
    assert found == "\n".join(lines).upper().replace(":", "").split()
