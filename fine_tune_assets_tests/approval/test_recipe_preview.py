"""The preview of a recipe: what its tasks make of the reports, and why a report makes nothing."""

from fine_tune_assets.approval.recipe_preview import NO_SECTION, OTHER_SOURCE, preview_recipe
from fine_tune_assets.approval.task_kinds import ReportText
from fine_tune_assets.recipes.schema import ModelTask


def test_a_report_of_another_source_lacks_no_section() -> None:
    """A misspelled source would otherwise make no drafts for no reason."""
    passages = ModelTask("ask", "Ask about doses.", "model", 40, sources=("guidelines",), words_per_passage=20)
    sections = ModelTask("sum", "Summarize.", "model", 40, ("FINDINGS",), sources=("guidelines",))
    reports = [
        ReportText(report_id=source, source=source, subject_key=source, text="Dose\n\n" + "One tablet daily. " * 10)
        for source in ("guidelines", "clinic")
    ]
    asked, summary = preview_recipe(reports, [passages, sections], ()).tasks
    assert (asked.drafts, asked.left_out) == (2, {OTHER_SOURCE: 1})
    assert (summary.drafts, summary.left_out) == (0, {f"{NO_SECTION}: FINDINGS": 1, OTHER_SOURCE: 1})
