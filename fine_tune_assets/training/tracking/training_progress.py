"""Reports the progress of a training: step, loss, learning rate, tokens per second, memory and remaining time.

Collects the points of the curve, and stops the training at a loss or gradient that is not finite.
"""

import resource
import time
from typing import Any

import torch
from transformers import TrainerCallback

from fine_tune_assets.core.progress import Progress, format_duration
from fine_tune_assets.training.failures import require_finite


def peak_memory_bytes() -> int:
    """GPU memory allocated at the peak, or else the peak resident memory of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class ProgressCallback(TrainerCallback):
    """Reports every logged step. Raises TrainingError at the first loss or gradient norm that is not finite."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._start: tuple[float, int, float] | None = None
        self.tokens_per_second = 0.0
        """In this attempt, without padding and without the first step's time."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        logs = dict(kwargs.get("logs") or {})
        for name in ("loss", "eval_loss", "grad_norm"):
            if name in logs:
                require_finite(float(logs[name]), state.global_step)
        if "loss" in logs:
            self._report(state, logs)

    def _report(self, state: Any, logs: dict[str, Any]) -> None:
        now, tokens = time.monotonic(), float(logs.get("num_tokens", 0.0))
        if self._start is None:
            self._start = (now, state.global_step, tokens)
        start, first_step, first_tokens = self._start
        parts = [
            f"optimizer steps, loss {float(logs['loss']):.3f}",
            f"learning rate {float(logs['learning_rate']):.2e}",
        ]
        if state.global_step > first_step:
            seconds = now - start
            self.tokens_per_second = (tokens - first_tokens) / seconds
            left = seconds / (state.global_step - first_step) * (state.max_steps - state.global_step)
            parts += [f"{self.tokens_per_second:.0f} tokens/s", f"{format_duration(left)} left"]
        parts.append(f"{peak_memory_bytes() / 1e9:.1f} GB")
        self._progress(state.global_step, state.max_steps, ", ".join(parts))


CURVE_FIELDS = ("step", "loss", "eval_loss", "learning_rate", "grad_norm")


def extract_curve(history: list[dict[str, float]]) -> tuple[dict[str, float], ...]:
    """The logged points that have a loss, in order."""
    return tuple(
        {name: float(entry[name]) for name in CURVE_FIELDS if name in entry}
        for entry in history
        if "loss" in entry or "eval_loss" in entry
    )
