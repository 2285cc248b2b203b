"""Plots of drift, drawn from its metrics."""

from dataclasses import replace
from datetime import timedelta

from fine_tune_assets.drift.drift_metrics import DriftMetric, Window, measure_drift
from fine_tune_assets.drift.drift_plots import drift_history_plot, drift_plot
from fine_tune_assets_tests.drift.windows import NOW, window_of

PNG = b"\x89PNG\r\n\x1a\n"


def _metrics(windows: int) -> list[DriftMetric]:
    """Windows with ever more corrections. The first is not judged."""
    made: list[Window] = []
    for number in range(windows):
        window = window_of({"wrong_fact": number + 1})
        end = NOW + timedelta(days=number)
        made.append(replace(window, start=end - timedelta(days=1), end=end))
    return measure_drift(made, None, 0.2, 0.001)


def test_the_history_is_drawn_from_two_judged_windows_on() -> None:
    """One point does not make a history."""
    assert drift_history_plot(_metrics(2)) is None
    plot = drift_history_plot(_metrics(3))
    assert plot is not None
    assert plot.startswith(PNG)
    assert len(plot) < 50_000
    assert plot != drift_history_plot(_metrics(4))


def test_what_is_not_judged_is_not_drawn() -> None:
    """An empty plot would look like no drift."""
    assert drift_plot(_metrics(1)) is None
    assert (drift_plot(_metrics(2)) or b"").startswith(PNG)
