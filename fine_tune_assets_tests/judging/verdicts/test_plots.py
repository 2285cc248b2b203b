"""The pictures of a verdict, made from its document alone."""

from dataclasses import replace

from fine_tune_assets.judging.verdicts.evidence import evidence_json, read_evidence
from fine_tune_assets.judging.verdicts.plots import verdict_plots
from fine_tune_assets_tests.judging.made import GOOD_TABLES, agreement, evidence, graded

PNG = b"\x89PNG\r\n\x1a\n"


def test_each_picture_is_a_small_png_that_comes_from_the_document() -> None:
    """The desk and the Dagster UI show the same, and both keep it in a page."""
    groups = {"site: one": [f"e{i:03}" for i in range(30)], "site: two": [f"e{i:03}" for i in range(30, 60)]}
    plots = verdict_plots(read_evidence(evidence_json(evidence(groups=groups))))
    assert len(plots) == 5
    for title, png in plots.items():
        assert png.startswith(PNG), title
        assert len(png) < 50_000, title


def test_what_was_not_measured_is_not_drawn() -> None:
    """A picture of nothing would look like a figure of zero."""
    nothing = replace(
        GOOD_TABLES,
        judge_scores=graded({"a": (None, 4.0)}),
        judge_agreement=agreement(judge="other"),
        retained_abilities=None,
    )
    assert verdict_plots(read_evidence(evidence_json(evidence(nothing)))) == {}
