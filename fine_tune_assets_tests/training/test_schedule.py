"""When a training writes checkpoints and measures the validation loss."""

from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # TRL takes 13 s to import


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    from fine_tune_assets.training.lora import sft

    seconds = [1000.0]
    monkeypatch.setattr(sft, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return seconds


def test_a_checkpoint_is_written_at_the_configured_interval(clock: list[float]) -> None:
    """The interval limits the time lost to a power failure, whatever the number of steps."""
    from fine_tune_assets.training.lora.sft import ScheduleCallback

    schedule = ScheduleCallback(order=None, evaluations={7}, steps_per_epoch=10, minutes=5)  # type: ignore[arg-type]

    def after(step: int, seconds: float) -> tuple[bool, bool]:
        clock[0] += seconds
        control: Any = SimpleNamespace(should_evaluate=False, should_save=False)
        schedule.on_step_end(None, SimpleNamespace(global_step=step), control)
        if control.should_save:
            schedule.on_save(None, None, control)
        return control.should_save, control.should_evaluate

    assert after(1, 299) == (False, False)
    assert after(2, 1) == (True, False)
    assert after(3, 200) == (False, False)
    assert after(7, 1) == (True, True)  # every measured loss has a checkpoint
    assert after(8, 299) == (False, False)
    assert after(9, 1) == (True, False)
