"""The curves of a training."""

import base64
import struct

from fine_tune_assets.training.distributed.launch import training_curve_png

CURVE = [
    {"step": 1, "loss": 2.0, "learning_rate": 1e-4},
    {"step": 2, "loss": 1.5, "eval_loss": 1.7, "learning_rate": 2e-4},
    {"step": 3, "loss": 1.2, "learning_rate": 1e-4},
]


def test_the_curves_are_a_small_png_with_losses_and_learning_rate() -> None:
    """Dagster's event log stores it with each adapter."""
    whole = base64.b64decode(training_curve_png(CURVE))
    assert whole.startswith(b"\x89PNG")
    assert struct.unpack(">II", whole[16:24]) == (720, 256)
    assert len(whole) < 50_000
    for left_out in ("eval_loss", "learning_rate"):
        rest = [{name: value for name, value in point.items() if name != left_out} for point in CURVE]
        assert base64.b64decode(training_curve_png(rest)) != whole
