"""How far the newest window is beyond its limits, as a picture of less than 50 KB. A figure that is not judged is not drawn."""

import io
from collections.abc import Sequence

from fine_tune_assets.drift.windows import FOUND, Figure

_LIKE, _UNLIKE = "#1f7a4d", "#b3261e"


def drift_plot(figures: Sequence[Figure]) -> bytes | None:
    """Each figure as a share of its threshold. None where there is nothing to draw."""
    rows = [(figure, share) for figure in figures if (share := _share_of_limit(figure)) is not None]
    if not rows:
        return None
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(6, 0.8 + 0.3 * len(rows)), dpi=80, layout="constrained")
    axes = picture.subplots()
    names = [figure.feature for figure, _ in rows]
    colours = [_UNLIKE if figure.is_beyond else _LIKE for figure, _ in rows]
    axes.barh(names, [share for _, share in rows], color=colours)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("share of the threshold")
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png")
    return buffer.getvalue()


def _share_of_limit(figure: Figure) -> float | None:
    """Above 1 is beyond it. Of documents found what is not found counts: more of it is worse."""
    if figure.value is None or figure.threshold is None:
        return None
    value, limit = figure.value, figure.threshold
    if figure.feature == FOUND:
        value, limit = 1 - value, 1 - limit
    return value / limit if limit else None if value == 0 else 2.0
