"""The loss curve of a training."""

import base64
import struct

from fine_tune_assets.training.distributed.launch import loss_curve_png

CURVE = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5, "eval_loss": 1.7}, {"step": 3, "loss": 1.2}]


def test_the_loss_curve_is_a_small_png_with_both_losses() -> None:
    """Dagster's event log stores it with each adapter."""
    whole = base64.b64decode(loss_curve_png(CURVE))
    assert whole.startswith(b"\x89PNG")
    assert struct.unpack(">II", whole[16:24]) == (480, 256)
    assert len(whole) < 50_000
    training_alone = [{name: value for name, value in point.items() if name != "eval_loss"} for point in CURVE]
    assert base64.b64decode(loss_curve_png(training_alone)) != whole
