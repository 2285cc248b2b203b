"""How a training tells how far it is, while it goes on: step, loss, learning rate, tokens a second, memory, time left.

Owns one line of progress and the points of the curve. Ends the training when a number is none.
"""

import resource
import time
from typing import Any

import torch
from transformers import TrainerCallback

from fine_tune_assets.core.progress import Progress, duration_words
from fine_tune_assets.training.failures import require_number


def peak_memory_bytes() -> int:
    """Of the graphics card if there is one, else the most that this process held."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Telling(TrainerCallback):
    """Says every logged step to whoever listens. Raises TrainingError at the first loss or gradient that is no number."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began: tuple[float, int, float] | None = None
        self.tokens_per_second = 0.0
        """Of this attempt, padding aside, without the time of the first step."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        logs = dict(kwargs.get("logs") or {})
        for name in ("loss", "eval_loss", "grad_norm"):
            if name in logs:
                require_number(float(logs[name]), state.global_step)
        if "loss" in logs:
            self._tell(state, logs)

    def _tell(self, state: Any, logs: dict[str, Any]) -> None:
        now, tokens = time.monotonic(), float(logs.get("num_tokens", 0.0))
        if self._began is None:
            self._began = (now, state.global_step, tokens)
        began, first_step, first_tokens = self._began
        said = [f"optimiser steps, loss {float(logs['loss']):.3f}", f"learning rate {float(logs['learning_rate']):.2e}"]
        if state.global_step > first_step:
            seconds = now - began
            self.tokens_per_second = (tokens - first_tokens) / seconds
            left = seconds / (state.global_step - first_step) * (state.max_steps - state.global_step)
            said += [f"{self.tokens_per_second:.0f} tokens/s", f"{duration_words(left)} left"]
        said.append(f"{peak_memory_bytes() / 1e9:.1f} GB")
        self._progress(state.global_step, state.max_steps, ", ".join(said))


CURVE = ("step", "loss", "eval_loss", "learning_rate", "grad_norm")


def curve_of(history: list[dict[str, float]]) -> tuple[dict[str, float], ...]:
    """The logged points that have a loss, in their order."""
    return tuple(
        {name: float(entry[name]) for name in CURVE if name in entry}
        for entry in history
        if "loss" in entry or "eval_loss" in entry
    )
