"""Plots drift relative to its thresholds, each in less than 50 KB. Omits metrics that are not judged."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from fine_tune_assets.core.plots import make_figure, to_png
from fine_tune_assets.drift.drift_metrics import RETRIEVAL_HIT_RATE, DriftMetric

_WITHIN_COLOUR, _BEYOND_COLOUR = "#1f7a4d", "#b3261e"


def drift_plot(metrics: Sequence[DriftMetric]) -> bytes | None:
    """Draw each metric as a share of its threshold; None if there is nothing to draw."""
    rows = [(figure, share) for figure in metrics if (share := _share_of_limit(figure)) is not None]
    if not rows:
        return None
    figure, axes = make_figure(6, 0.8 + 0.3 * len(rows))
    names = [metric.feature for metric, _ in rows]
    colours = [_BEYOND_COLOUR if metric.exceeds_threshold else _WITHIN_COLOUR for metric, _ in rows]
    axes.barh(names, [share for _, share in rows], color=colours)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("share of the threshold")
    return to_png(figure)


def drift_history_plot(metrics: Sequence[DriftMetric]) -> bytes | None:
    """Draw each metric as a share of its threshold over the windows; None with fewer than two windows."""
    lines = defaultdict[str, list[tuple[datetime, float]]](list)
    for metric in metrics:
        if (share := _share_of_limit(metric)) is not None:
            lines[metric.feature].append((metric.window.end, share))
    if max(map(len, lines.values()), default=0) < 2:
        return None
    figure, axes = make_figure(7, 3.2)
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_ylabel("share of the threshold")
    axes.tick_params(axis="x", rotation=30)
    axes.legend(fontsize="x-small")
    return to_png(figure)


def _share_of_limit(figure: DriftMetric) -> float | None:
    """Share above 1 exceeds the threshold. For retrieval hits, misses count, because more of them is worse."""
    if figure.value is None or figure.threshold is None:
        return None
    value, limit = figure.value, figure.threshold
    if figure.feature == RETRIEVAL_HIT_RATE:
        value, limit = 1 - value, 1 - limit
    return value / limit if limit else None if value == 0 else 2.0
