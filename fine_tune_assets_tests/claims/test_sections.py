"""How a report is split into sections."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.claims.repeated_lines import LinedReport, find_repeated_lines
from fine_tune_assets.claims.sections import (
    Layout,
    Section,
    count_cut_off_words,
    extract_section_texts,
    find_inline_headings,
    find_section,
    split_sections,
)
from fine_tune_assets_tests.clinical_domain import SECTION_NAMES as NAMES

_WHOLE = "HISTORY OF PRESENT ILLNESS"


def test_section_ends_at_the_next_heading() -> None:
    """An input that continued into the plan would show the model the answer."""
    assert extract_section_texts("HISTORY\nFell.\n\nPAST HISTORY\nNone.\n\nPLAN\nRest.", (), NAMES) == {
        "HISTORY": "Fell.",
        "PAST HISTORY": "None.",
        "PLAN": "Rest.",
    }


def test_named_heading_is_found_in_any_case_and_with_a_colon() -> None:
    """Clinics format headings as they like."""
    text = "Assessment and  Plan:\nRest."
    assert extract_section_texts(text, ["ASSESSMENT AND PLAN"], NAMES) == {"ASSESSMENT AND PLAN": "Rest."}
    assert extract_section_texts(text, (), NAMES) == {"": text}


def test_lower_case_heading_needs_a_colon() -> None:
    """Otherwise a record that names its section in plain words would lose its own text."""
    named = ["CHIEF COMPLAINT", "NOTE SECTION", "DIALOGUE"]
    text = "NOTE SECTION\n\nchief complaint\n\nDIALOGUE\n\nDoctor: What is it?"
    assert extract_section_texts(text, named, NAMES) == {
        "NOTE SECTION": "chief complaint",
        "DIALOGUE": "Doctor: What is it?",
    }
    assert extract_section_texts("chief complaint:\nCough.", named, NAMES) == {"CHIEF COMPLAINT": "Cough."}


def test_placeholders_and_measurements_are_not_headings() -> None:
    """Otherwise a line with only [NAME] would split its section."""
    assert extract_section_texts("PLAN\n[NAME]\nBP 120/80\nOK\nRest.", (), NAMES) == {
        "PLAN": "[NAME]\nBP 120/80\nOK\nRest."
    }


def test_heading_inside_a_sentence_starts_no_section() -> None:
    """Only a separate line is a heading."""
    assert extract_section_texts("PLAN\nThe PLAN is rest.\nPLAN: rest", (), NAMES) == {
        "PLAN": "The PLAN is rest.\nPLAN: rest"
    }


def test_repeated_heading_keeps_both_texts() -> None:
    """Addenda repeat a heading; neither text may be lost."""
    assert extract_section_texts("PLAN\nRest.\nEXAM\nFine.\nPLAN\nIce.", (), NAMES)["PLAN"] == "Rest.\n\nIce."


def test_text_before_the_first_heading_is_kept_without_a_heading() -> None:
    """Splitting loses no line."""
    assert [s.heading for s in split_sections("Dear colleague\nPLAN\n", (), NAMES)] == ["", "PLAN"]
    assert split_sections("", (), NAMES) == []


@pytest.mark.parametrize("line", ["NKDA", "SOBAR", "EKG", "PAIN STILL PRESENT NOW", "TSH, FBC,", "MSK:", "PMH:"])
def test_line_in_capitals_inside_a_note_is_text(line: str) -> None:
    """Doctors write abbreviations in capitals. As headings, they would cut off allergies, history and plan."""
    note = f"DH: none\n{line}\nImp: gastroenteritis\n\nPlan:\nFluids."
    assert extract_section_texts(f"NOTE\n\n{note}", ["NOTE"], NAMES) == {"NOTE": note}


@pytest.mark.parametrize("line", ["NKDA", "STABLE", "HPC:"])
def test_abbreviation_in_its_own_paragraph_is_text(line: str) -> None:
    """A blank line before a single unknown word does not make it a heading."""
    note = f"Lives alone.\n\n{line}\nOlder history."
    assert extract_section_texts(f"NOTE\n\n{note}", ["NOTE"], NAMES) == {"NOTE": note}


def test_heading_by_form_only_starts_an_uncertain_section() -> None:
    """Departments use headings that no list contains. A cut at one must be visible."""
    sections = split_sections("PLAN\nRest.\n\nFOOT SURGERY CLINIC\nIce.\n\nALLERGIES\nNone.", (), NAMES)
    assert [(s.heading, s.is_certain) for s in sections] == [
        ("PLAN", True), ("FOOT SURGERY CLINIC", False), ("ALLERGIES", True),
    ]  # fmt: skip
    assert count_cut_off_words(sections, ["PLAN"]) == 4
    assert count_cut_off_words(sections, ["ALLERGIES"]) == 0
    named = split_sections("PLAN\nRest.\n\nFOOT SURGERY CLINIC\nIce.", ["FOOT SURGERY CLINIC"], NAMES)
    assert count_cut_off_words(named, ["PLAN"]) == 0


def test_closing_line_in_capitals_is_text() -> None:
    """A heading without text would only lose its own words."""
    text = "PLAN\nRest.\n\nNO KNOWN DRUG ALLERGIES\n\nEXAM\nFine."
    assert extract_section_texts(text, (), NAMES)["PLAN"] == "Rest.\n\nNO KNOWN DRUG ALLERGIES"


def test_section_name_in_the_text_of_a_record_is_kept() -> None:
    """A record's `Chief Complaint` field looks like a heading but is text."""
    named = ["CHIEF COMPLAINT", "NOTE SECTION", "DIALOGUE"]
    text = "NOTE SECTION\n\nChief Complaint\n\nDIALOGUE\n\nDoctor: What is it?"
    assert extract_section_texts(text, named, NAMES) == {
        "NOTE SECTION": "Chief Complaint",
        "DIALOGUE": "Doctor: What is it?",
    }


def test_heading_in_two_spellings_keeps_both_texts() -> None:
    """A report with HPI and with the full words has two parts of one section; neither is lost."""
    texts = extract_section_texts(
        "HPI\nFell.\n\nEXAM\nFine.\n\nHistory of present illness\nOn ice.", ["HPI", _WHOLE], NAMES
    )
    assert find_section(texts, ("HPI", _WHOLE)) == ("HPI", "Fell.\n\nOn ice.")
    texts = extract_section_texts("ASSESSMENT\nSprain.\n\nASSESSMENT AND PLAN\nRest.", (), NAMES)
    assert find_section(texts, "/assessment.*/") == ("ASSESSMENT", "Sprain.\n\nRest.")


def test_pattern_does_not_match_text_before_the_first_heading() -> None:
    """A letterhead is not what `/.*/` refers to."""
    assert find_section({"": "Dear colleague"}, "/.*/") is None


def test_inline_heading_is_reported() -> None:
    """It starts no section, so such a report yields no draft, and the user must see why."""
    text = "Plan: ice\nPLAN: rest\nThe PLAN: none\nEXAM: fine"
    assert find_inline_headings(text, ["PLAN", "/ex.*/"]) == {"PLAN"}


def test_section_names_are_stored_in_normalized_form() -> None:
    """A name with a colon or in lower case would never be found."""
    names = NAMES
    assert len(names) > 100
    assert [name for name in names if split_sections(f"{name}\nText.", (), NAMES) != [Section(name, "Text.")]] == []


@given(
    st.lists(
        st.sampled_from(["", "Plan", "Plan:", "NKDA", "2. Exam", "3. Plan", "# Plan", "**Plan**", "---", "Fine."]),
        max_size=14,
    ),
    st.dictionaries(st.integers(1, 14), st.integers(0, 10), max_size=6),
)
def test_splitting_by_layout_loses_no_word(lines: list[str], levels: dict[int, int]) -> None:
    """Whatever evidence there is: only numbers, markup and underlines of headings are omitted."""
    sections = split_sections("\n".join(lines), ["PLAN"], (), Layout(levels, frozenset({"EXAM"})))
    found = [word for s in sections for word in _WORD.findall(f"{s.heading}\n{s.text}".upper())]
    assert found == _WORD.findall("\n".join(lines).upper())


@pytest.mark.parametrize("unit", ["1. A\n\n", "Plan:\n", "**a** ", "# ", "A ", "I.I.", "\n", "---\n"])
def test_time_grows_with_the_text(unit: str) -> None:
    """A text of repeated units must not stop a stage."""

    def measure(length: int) -> float:
        text = f"Plan\n\n{unit * (length // len(unit))}"
        start = time.process_time()
        split_sections(text, ["PLAN"], (), Layout({3: 2}, frozenset({"A"})))
        find_repeated_lines([LinedReport("site", "1", text)])
        return time.process_time() - start

    assert min(measure(400_000) for _ in range(2)) < max(0.5, 25 * min(measure(40_000) for _ in range(3)))


_WORD = re.compile(r"[A-Z]{2,}")
_LINES = st.sampled_from(
    ["", "PLAN", "Plan", "plan", "NKDA", "HPC:", "FOOT CLINIC", "FOOT CLINIC:", "EXAM", "Fine.", "a b"]
)


@given(st.lists(_LINES, max_size=14))
def test_splitting_loses_no_line(lines: list[str]) -> None:
    """Each line is either a heading or in the text of a section, in order."""
    sections = split_sections("\n".join(lines), ["PLAN"], NAMES)
    found = [word for s in sections for word in f"{s.heading}\n{s.text}".upper().replace(":", "").split()]
    assert found == "\n".join(lines).upper().replace(":", "").split()
