"""Headings with text on their line, which start sections only if a task says so."""

import pytest

from fine_tune_assets.approval.section_proposals import find_sections
from fine_tune_assets.approval.task_kinds import ReportText, read_section_rules
from fine_tune_assets.claims.inline_headings import break_inline_headings, find_repeated_inline_headings
from fine_tune_assets.claims.sections import join_section_texts
from fine_tune_assets.recipes.schema import SectionTask
from fine_tune_assets.tables.common_columns import HeadingLine

REPORT = "FINDINGS: The rope is worn.\nNKDA: none of it.\nBP: 120/80.\n"
REPORT += "MEASURED VALUES: 12 mm.\nASSESSMENT: Replace it.\nMore text."


def _reports(text: str = REPORT, count: int = 6, **changes: object) -> list[ReportText]:
    fields = {"source": "app", "headings": None} | changes
    return [ReportText(report_id=f"b/{n}", subject_key=f"s{n}", text=text, **fields) for n in range(count)]


def _sections(reports: list[ReportText], **changes: object) -> dict[str, str]:
    """Of the first report, for a task from findings to assessment."""
    fields = {"input_sections": ("Findings",), "output_section": "Assessment"} | changes
    task = SectionTask("assess", "Assess.", **fields)
    return join_section_texts(read_section_rules(lambda: reports, [task], ()).split(reports[0]))


def test_without_the_setting_such_lines_are_text() -> None:
    """Drafts of recipes without it stay as they are."""
    assert _sections(_reports()) == {"": REPORT}


def test_with_the_setting_they_start_and_end_sections() -> None:
    found = _sections(_reports(), inline_headings=True)
    assert found["ASSESSMENT"] == "Replace it.\nMore text."
    assert found["FINDINGS"].startswith("The rope is worn.")
    assert "12 mm" not in found["FINDINGS"]


def test_values_after_a_short_name_stay_in_their_section() -> None:
    """`BP` is too short to be a heading, and a name that only one report has is none."""
    one = _reports()[0]
    rare = [one, *_reports(REPORT.replace("NKDA: none of it.", "Nothing."), 6)]
    assert "BP: 120/80." in _sections(rare, inline_headings=True)["FINDINGS"]
    assert "NKDA: none of it." in _sections(rare, inline_headings=True)["FINDINGS"]


@pytest.mark.parametrize("written", ["Findings", "FINDINGS", " Findings"])
def test_a_named_heading_counts_in_small_letters_too(written: str) -> None:
    text = f"{written}: The rope is worn.\nAssessment: Replace it."
    assert _sections(_reports(text, 1), inline_headings=True) == {
        "FINDINGS": "The rope is worn.",
        "ASSESSMENT": "Replace it.",
    }


def test_a_sentence_with_a_colon_is_no_heading() -> None:
    text = "Findings: as follows.\nThe findings: none.\nFINDINGS:\nASSESSMENT: See findings: none."
    found = _sections(_reports(text, 1), inline_headings=True)
    assert found["FINDINGS"] == "as follows.\nThe findings: none."
    assert found["ASSESSMENT"] == "See findings: none."


def test_levels_of_other_lines_move_with_them() -> None:
    """A heading style in the same document must not become the style of another line."""
    text, moved = break_inline_headings("FINDINGS: worn\nPlan\nrest", {"FINDINGS"}, {2: 1})
    assert [text.splitlines()[line - 1] for line in moved] == ["Plan"]
    styled, same = break_inline_headings("FINDINGS: worn", {"FINDINGS"}, {1: 2})
    assert (styled, same) == ("FINDINGS: worn", {1: 2})


@pytest.mark.parametrize(("count", "found"), [(4, frozenset()), (5, frozenset({"MEASURES"}))])
def test_a_name_must_be_repeated_to_count_without_being_named(count: int, found: frozenset[str]) -> None:
    texts = [("app", "MEASURES: none")] * count + [("app", "Nothing.")] * 5
    assert find_repeated_inline_headings(texts)["app"] == found


def test_a_name_on_every_line_is_a_speaker_not_a_heading() -> None:
    dialogue = "DOCTOR: Hello.\nPATIENT: Hello.\nDOCTOR: Where?\nPATIENT: Here."
    assert find_repeated_inline_headings([("app", dialogue)] * 20)["app"] == frozenset()


def test_the_wizard_finds_them_and_says_so() -> None:
    found = {one.heading: one for one in find_sections(_reports())}
    assert {"FINDINGS", "MEASURED VALUES", "ASSESSMENT"} <= found.keys()
    assert all(one.is_inline for one in found.values())
    assert found["ASSESSMENT"].reports == 6


def test_the_wizard_keeps_styles_beside_them() -> None:
    text = f"Equipment\nA lift.\n{REPORT}"
    found = {
        one.heading: one.is_inline for one in find_sections(_reports(text, headings=(HeadingLine(line=1, level=1),)))
    }
    assert (found["Equipment"], found["ASSESSMENT"]) == (False, True)


def test_long_text_is_read_in_linear_time() -> None:
    """A line of 500,000 characters is the largest report."""
    text = "A" * 250_000 + ": " + "A: " * 80_000
    assert break_inline_headings(text, {"A"}, {})[0] == text
