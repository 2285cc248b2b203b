"""Small figures for the Dagster UI. matplotlib is imported only when one is drawn, since it costs a second."""

import io
from typing import Any


def make_figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    """A figure of `width` × `height` inches at 80 dpi, and its axes: one, or an array of `columns`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=80, layout="constrained")
    return figure, figure.subplots(1, columns)


def to_png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
