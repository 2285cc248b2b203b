"""Plots the newest window's drift relative to its thresholds, in less than 50 KB. Omits metrics that are not judged."""

import io
from collections.abc import Sequence

from fine_tune_assets.drift.drift_metrics import RETRIEVAL_HIT_RATE, DriftMetric

_WITHIN_COLOUR, _BEYOND_COLOUR = "#1f7a4d", "#b3261e"


def drift_plot(metrics: Sequence[DriftMetric]) -> bytes | None:
    """Draw each metric as a share of its threshold; None if there is nothing to draw."""
    rows = [(figure, share) for figure in metrics if (share := _share_of_limit(figure)) is not None]
    if not rows:
        return None
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(6, 0.8 + 0.3 * len(rows)), dpi=80, layout="constrained")
    axes = picture.subplots()
    names = [figure.feature for figure, _ in rows]
    colours = [_BEYOND_COLOUR if figure.exceeds_threshold else _WITHIN_COLOUR for figure, _ in rows]
    axes.barh(names, [share for _, share in rows], color=colours)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("share of the threshold")
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png")
    return buffer.getvalue()


def _share_of_limit(figure: DriftMetric) -> float | None:
    """Share above 1 exceeds the threshold. For retrieval hits, misses count, because more of them is worse."""
    if figure.value is None or figure.threshold is None:
        return None
    value, limit = figure.value, figure.threshold
    if figure.feature == RETRIEVAL_HIT_RATE:
        value, limit = 1 - value, 1 - limit
    return value / limit if limit else None if value == 0 else 2.0
