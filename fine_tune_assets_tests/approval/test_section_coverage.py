"""Which words of the reports are in no draft, and why."""

import pyarrow as pa

from fine_tune_assets.approval.drafts import draft_examples
from fine_tune_assets.approval.section_coverage import SectionAccount, account_sections
from fine_tune_assets.approval.task_kinds import ReportText
from fine_tune_assets.recipes.schema import FieldTask, PairTask, Task
from fine_tune_assets.tables.records import records_of
from fine_tune_assets_tests.approval.examples import PLAN, corrections, reports


def account(unique: pa.Table, *tasks: Task) -> SectionAccount:
    return account_sections(lambda: records_of(ReportText, unique), tasks, draft_examples(unique, corrections(), tasks))


def test_every_word_of_a_report_is_in_a_draft_or_counted_where_it_stands() -> None:
    """What is not used is known, not silently lost."""
    text = (
        "Dear colleague\nFINDINGS\nA sprain.\n\nFOOT CLINIC TODAY\nSwollen.\n\nALLERGIES\nNone at all.\n\nPLAN\nRest."
    )
    assert account(reports(text), PLAN) == SectionAccount(
        words_in_drafts=3,
        words_in_other_sections=3,
        words_before_first_heading=2,
        words_after_unsure_headings=1,
        drafts_cut_short=1,
        words_cut_short=4,  # the line in capitals may be text as well
    )


def test_a_report_without_doubtful_headings_is_whole() -> None:
    """What follows a known heading was never meant to be in the draft."""
    found = account(reports("FINDINGS\nSprain.\nALLERGIES\nNone.\nPLAN\nRest."), PLAN)
    assert found.is_whole
    assert (found.words_in_drafts, found.words_in_other_sections) == (2, 1)


def test_a_section_on_the_line_of_its_heading_is_counted() -> None:
    """The report makes no draft, though it has all that the task asks for."""
    found = account(reports("FINDINGS: Sprain.\nPLAN: Rest."), PLAN)
    assert (found.sections_within_a_line, found.is_whole) == (2, False)


def test_an_empty_section_is_counted_and_loses_nothing() -> None:
    """Templates are full of headings that nobody filled in."""
    found = account(reports("FINDINGS\n\nPLAN\nRest."), PLAN)
    assert (found.sections_without_text, found.is_whole) == (1, True)


def test_a_task_that_reads_whole_reports_leaves_nothing_out() -> None:
    """Of a pair both halves are used, headings and all."""
    values = FieldTask("abnormal", "Name the abnormal values.", "fields")
    assert account(reports("Seen today\nALLERGIES\nNa 139 mmol/L (135-145)"), values) == SectionAccount(
        words_in_drafts=6
    )
    pairs = PairTask("note", "Write the note.", "pairs", ".dialogue", ".note")
    visit = reports("Doctor: What is it?\n\nFOOT CLINIC TODAY\nIt hurts.", "ALLERGIES\nNone.")
    visit = visit.set_column(0, visit.schema.field(0), pa.array(["b/1.dialogue", "b/1.note"]))
    visit = visit.set_column(3, visit.schema.field(3), pa.array(["patient1", "patient1"]))
    assert account(visit, pairs) == SectionAccount(words_in_drafts=7)
