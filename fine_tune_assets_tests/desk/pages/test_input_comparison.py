"""The input in its report: named by its sections, found with surrogates, marked with placeholders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.desk.pages.input_comparison import align_texts, compare_input, locate_input
from fine_tune_assets.desk.pages.marked_text import SOURCED, TextSpan
from fine_tune_assets.desk.stored_texts import StoredReport
from fine_tune_assets_tests.clinical_domain import SECTION_NAMES

REPORT = """\
PRESENTING COMPLAINT
Cough since [DATE].

NOTE
Seen by [NAME].
Chest clear, no fever.

PLAN:
Rest. Call [PHONE].
"""
SURROGATES = {"[DATE]": "3 May", "[NAME]": "Dr Mara Linden", "[PHONE]": "555-0100"}
HEADINGS = ["PRESENTING COMPLAINT", "NOTE", "PLAN"]


def with_surrogates(tagged: str) -> str:
    for tag, value in SURROGATES.items():
        tagged = tagged.replace(tag, value)
    return tagged


def stored(tagged: str = REPORT) -> StoredReport:
    return StoredReport("subject", with_surrogates(tagged), tagged, "f" * 64)


def outside(text: str, report: StoredReport | None = None) -> list[str]:
    """The parts of the report that are marked as not in the input."""
    report = report or stored()
    return [report.tagged_text[start:end] for start, end in compare_input(text, report, HEADINGS, "clinical").outside]


NOTE = "Seen by Dr Mara Linden.\nChest clear, no fever."


@pytest.mark.parametrize(
    ("text", "summary", "not_in_input"),
    [
        (with_surrogates(REPORT).strip(), "same as the report", []),
        (
            f"NOTE\n{NOTE}\n\nPLAN:\nRest. Call 555-0100.",
            "the report without its section PRESENTING COMPLAINT",
            ["PRESENTING COMPLAINT\nCough since [DATE]."],
        ),
        (
            NOTE,
            "the section NOTE of the report",
            ["PRESENTING COMPLAINT\nCough since [DATE].\n\nNOTE", "PLAN:\nRest. Call [PHONE]."],
        ),
        # In the order of the task and with its spelling of the heading, as drafts have several sections.
        (
            f"PLAN\nRest. Call 555-0100.\n\nNOTE\n{NOTE}",
            "the report without its section PRESENTING COMPLAINT",
            ["PRESENTING COMPLAINT\nCough since [DATE].", "PLAN:"],
        ),
        (
            "Chest clear, no fever.",
            "parts of the report",
            ["PRESENTING COMPLAINT\nCough since [DATE].\n\nNOTE\nSeen by [NAME].", "PLAN:\nRest. Call [PHONE]."],
        ),
    ],
)
def test_an_input_from_the_report_is_folded_and_its_place_is_marked(
    text: str, summary: str, not_in_input: list[str]
) -> None:
    """The report beside it shows the same words, so that a reviewer reads them once."""
    view = compare_input(text, stored(), HEADINGS, "clinical")
    assert (view.is_folded, view.summary) == (True, summary)
    assert outside(text) == not_in_input


def test_lines_that_are_not_next_to_each_other_are_found_one_by_one() -> None:
    """A table of laboratory values has other lines between those of the input."""
    report = stored("Results of [DATE]\n\nHb 9.8 g/dL (12-15)\ncomment\nNa 133 mmol/L (135-145)\n")
    assert outside("Hb 9.8 g/dL (12-15)\nNa 133 mmol/L (135-145)", report) == ["Results of [DATE]", "comment"]


def test_a_part_of_a_line_is_not_the_place_of_the_input() -> None:
    """ "no fever." at the end of a line is another statement than the line."""
    assert locate_input("no fever.", with_surrogates(REPORT), HEADINGS, SECTION_NAMES) is None


def test_an_input_that_differs_is_shown_with_its_differences() -> None:
    """Words that the reviewer does not find in the report must not hide in a folded part."""
    view = compare_input(NOTE.replace("no fever", "high fever"), stored(), HEADINGS, "clinical")
    assert (view.is_folded, view.outside) == (False, ())
    assert [piece.text for piece in view.pieces if piece.kinds] == ["high"]
    assert "".join(piece.text for piece in view.pieces) == NOTE.replace("no fever", "high fever")


def test_another_text_is_shown_without_differences() -> None:
    """The input of a pair is the dialogue of the visit; every word of it would be marked."""
    dialogue = "Doctor: what brings you in? Patient: my knee hurts when I climb stairs."
    view = compare_input(dialogue, stored(), HEADINGS, "clinical")
    assert (view.is_folded, [piece.kinds for piece in view.pieces]) == (False, [()])


def test_an_input_without_a_report_is_shown() -> None:
    """The report may be in the middle of a new scrub."""
    view = compare_input(NOTE, None, HEADINGS, "clinical")
    assert (view.is_folded, [piece.text for piece in view.pieces]) == (False, [NOTE])
    assert compare_input(" ", None, HEADINGS, "clinical").pieces == []


def test_a_section_is_not_taken_for_one_with_the_same_text() -> None:
    """ "None." is what several sections say."""
    report = stored("ALLERGIES\nNone.\n\nMEDICATIONS\nNone.\n\nNOTE\nWell.\n")
    view = compare_input("ALLERGIES\nNone.\n\nNOTE\nWell.", report, [*HEADINGS, "ALLERGIES", "MEDICATIONS"], "clinical")
    assert view.summary == "the report without its section MEDICATIONS"


def test_a_report_that_does_not_fit_its_placeholders_is_not_marked() -> None:
    """A wrong mark would show as unseen what the model sees."""
    report = StoredReport("subject", with_surrogates(REPORT), REPORT.replace("Chest", "Lungs"), "f" * 64)
    view = compare_input(NOTE, report, HEADINGS, "clinical")
    assert (view.is_folded, view.outside) == (True, ())


_PARTS = st.lists(st.text(alphabet="ab .\n", max_size=8), min_size=1, max_size=6)


@given(_PARTS, st.lists(st.text(alphabet="ab .", min_size=1, max_size=6), min_size=5, max_size=5))
def test_texts_that_differ_only_in_placeholders_are_always_aligned(parts: list[str], values: list[str]) -> None:
    """A surrogate may contain the words around it."""
    tagged = "[NAME]".join(parts)
    text = parts[0] + "".join(value + part for value, part in zip(values, parts[1:], strict=False))
    aligned = align_texts(text, tagged, "clinical")
    assert aligned is not None
    assert [text[start:end] for (start, end), _ in aligned] == parts
    assert [tagged[start:end] for _, (start, end) in aligned] == parts


def source(quote: str, number: int = 1, text: str = NOTE) -> TextSpan:
    return TextSpan(text.index(quote), text.index(quote) + len(quote), SOURCED, number)


def test_sources_in_the_input_are_shown_in_the_report_with_placeholders() -> None:
    """Reviewers read the report, and the input is folded."""
    view = compare_input(
        NOTE, stored(), HEADINGS, "clinical", [source("Seen by Dr Mara Linden."), source("no fever.", 2)]
    )
    assert view.is_folded
    assert [(stored().tagged_text[one.start : one.end], one.number) for one in view.sources] == [
        ("Seen by [NAME].", 1),
        ("no fever.", 2),
    ]
    assert {piece.text: piece.sources for piece in view.pieces if piece.sources} == {
        "Seen by Dr Mara Linden.": (1,),
        "no fever.": (2,),
    }


def test_sources_that_the_report_lacks_are_shown_in_the_unfolded_input() -> None:
    """A number without a visible source would lead nowhere."""
    changed = NOTE.replace("no fever", "high fever")
    for report in (stored(), None):
        view = compare_input(changed, report, HEADINGS, "clinical", [source("high fever.", text=changed)])
        assert (view.is_folded, view.sources) == (False, ())
        assert "".join(piece.text for piece in view.pieces if piece.sources == (1,)) == "high fever."


def test_a_source_across_parts_of_the_report_unfolds_the_input() -> None:
    both = f"PLAN\nRest. Call 555-0100.\n\nNOTE\n{NOTE}"
    view = compare_input(both, stored(), HEADINGS, "clinical", [source("Call 555-0100.\n\nNOTE\nSeen", text=both)])
    assert (view.is_folded, view.sources) == (False, ())
