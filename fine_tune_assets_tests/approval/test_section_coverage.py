"""Which words of the reports are in no draft, and why."""

import pyarrow as pa

from fine_tune_assets.approval.drafts import draft_examples
from fine_tune_assets.approval.section_coverage import SectionCoverage, measure_section_coverage
from fine_tune_assets.approval.task_kinds import ReportText
from fine_tune_assets.recipes.schema import ModelTask, PairTask, Task
from fine_tune_assets.tables.record_classes import iter_records
from fine_tune_assets_tests.approval.examples import PLAN, corrections, reports, section_rules
from fine_tune_assets_tests.clinical_domain import PACK


def account(unique: pa.Table, *tasks: Task) -> SectionCoverage:
    return measure_section_coverage(
        lambda: iter_records(ReportText, unique),
        tasks,
        draft_examples(unique, corrections(), tasks, pack=PACK),
        section_rules(unique, *tasks),
    )


def test_every_word_is_in_a_draft_or_counted() -> None:
    """Unused words are known, not silently lost."""
    text = (
        "Dear colleague\nFINDINGS\nA sprain.\n\nFOOT CLINIC TODAY\nSwollen.\n\nALLERGIES\nNone at all.\n\nPLAN\nRest."
    )
    assert account(reports(text), PLAN) == SectionCoverage(
        words_in_drafts=3,
        words_in_unused_sections=3,
        words_before_first_heading=2,
        words_under_uncertain_headings=1,
        truncated_drafts=1,
        truncated_words=4,  # the line in capitals may be text as well
    )


def test_report_without_uncertain_headings_is_complete() -> None:
    """Text under a known heading was never meant to be in the draft."""
    found = account(reports("FINDINGS\nSprain.\nALLERGIES\nNone.\nPLAN\nRest."), PLAN)
    assert found.is_complete
    assert (found.words_in_drafts, found.words_in_unused_sections) == (2, 1)


def test_section_on_the_line_of_its_heading_is_counted() -> None:
    """The report makes no draft, although it has everything the task needs."""
    found = account(reports("FINDINGS: Sprain.\nPLAN: Rest."), PLAN)
    assert (found.inline_sections, found.is_complete) == (2, False)


def test_empty_section_is_counted() -> None:
    """Templates are full of unused headings."""
    found = account(reports("FINDINGS\n\nPLAN\nRest."), PLAN)
    assert (found.empty_sections, found.is_complete) == (1, True)


def test_task_that_reads_complete_reports_omits_nothing() -> None:
    """A pair uses both halves, including headings."""
    pairs = PairTask("note", "Write the note.", "pairs", ".dialogue", ".note")
    visit = reports("Doctor: What is it?\n\nFOOT CLINIC TODAY\nIt hurts.", "ALLERGIES\nNone.")
    visit = visit.set_column(0, visit.schema.field(0), pa.array(["b/1.dialogue", "b/1.note"]))
    visit = visit.set_column(3, visit.schema.field(3), pa.array(["patient1", "patient1"]))
    assert account(visit, pairs) == SectionCoverage(words_in_drafts=7)


def test_report_that_a_model_reads_in_passages_omits_nothing() -> None:
    """The recipe names no sections of guidelines, so none of their words are unused."""
    task = ModelTask("questions", "Ask about doses.", "model", 40)
    unique = reports("Introduction\n\nALLERGIES\nNone.")
    drafts = pa.table({"report_id": ["b/0"], "task": ["questions"], "flags": pa.array([[]], pa.list_(pa.string()))})
    drafts = drafts.set_column(0, "report_id", unique.column("report_id"))
    found = measure_section_coverage(
        lambda: iter_records(ReportText, unique), [task], drafts, section_rules(unique, task)
    )
    assert found == SectionCoverage(words_in_drafts=2)
