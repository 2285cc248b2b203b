"""Plots of a verdict, drawn from its document."""

from dataclasses import replace

from fine_tune_assets.judging.verdicts.evidence import evidence_json, read_evidence
from fine_tune_assets.judging.verdicts.verdict_plots import grade_plot, verdict_plots
from fine_tune_assets_tests.judging.verdict_inputs import GOOD_TABLES, agreement, evidence, graded

PNG = b"\x89PNG\r\n\x1a\n"


def test_each_plot_is_a_small_png() -> None:
    """Dagster metadata embeds the plots."""
    groups = {"site: one": [f"e{i:03}" for i in range(30)], "site: two": [f"e{i:03}" for i in range(30, 60)]}
    plots = verdict_plots(read_evidence(evidence_json(evidence(groups=groups))))
    assert len(plots) == 5
    for title, png in plots.items():
        assert png.startswith(PNG), title
        assert len(png) < 50_000, title


def test_missing_measurements_are_not_drawn() -> None:
    """An empty plot would look like a value of zero."""
    nothing = replace(
        GOOD_TABLES,
        judge_scores=graded({"a": (None, 4.0)}),
        judge_agreement=agreement(judge="other"),
        retained_abilities=None,
    )
    assert verdict_plots(read_evidence(evidence_json(evidence(nothing)))) == {}


def test_grades_are_drawn_for_every_model_with_grades() -> None:
    """Base model, candidate and production model side by side."""
    two = grade_plot({"base": [2.0, 3.5], "adapter": [10.0, 1.0]})
    assert two is not None
    assert two.startswith(PNG)
    assert two != grade_plot({"base": [2.0, 3.5]})
    assert grade_plot({"base": []}) is None
