"""Plots of the desk: every mark has its place, and no scale misleads."""

from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.desk.plot_geometry import compute_ticks, make_metric_intervals
from fine_tune_assets.judging.verdicts.evidence import read_evidence
from fine_tune_assets_tests.desk.verdict_documents import DOCUMENT, evidence

FIGURES = read_evidence(evidence(DOCUMENT)).metrics


def test_the_margin_is_drawn_where_the_difference_must_not_pass() -> None:
    """A required gain is to the right of 0, an allowed loss to the left."""
    points, shares = make_metric_intervals(FIGURES)
    target, copa = points.rows[0], shares.rows[0]
    assert target.margin == points.zero
    assert copa.margin is not None
    assert copa.x < copa.margin < shares.zero


def test_points_and_shares_are_drawn_apart() -> None:
    """A loss of 0.1 of all answers is not small compared with a gain of half a point."""
    plots = make_metric_intervals(FIGURES)
    assert [(plot.unit, len(plot.rows)) for plot in plots] == [("points", 2), ("share", 3)]
    for plot in plots:
        for row in plot.rows:
            assert row.low is not None
            assert row.high is not None
            assert row.low < row.x < row.high


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_between_the_ends(low: float, width: float) -> None:
    """Any scale gets an axis that can be read."""
    ticks = compute_ticks(low, low + width)
    assert len(ticks) <= 8
    room = 1e-6 * width + 1e-9 * abs(low)
    assert all(low - room <= value <= low + width + room for value, _ in ticks)
