"""The loss curve as a small picture."""

import base64
import io
from collections.abc import Sequence


def loss_curve_png(curve: Sequence[dict[str, float]]) -> str:
    """PNG of training and validation loss over steps, base64, below 50 KB."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), dpi=80, layout="constrained")
    axes = figure.subplots()
    for name, label in (("loss", "training"), ("eval_loss", "validation")):
        points = [(point["step"], point[name]) for point in curve if name in point]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o" if name == "eval_loss" else None, label=label)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss (nats per supervised token)")
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
