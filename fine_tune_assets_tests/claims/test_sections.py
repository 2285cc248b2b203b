"""How a report is read as sections."""

from fine_tune_assets.claims.sections import section_texts, split_sections


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
