"""Measures how long a pass through the model takes on this machine, from its first layers.

Times forward and backward passes with the real weights and adapter, with one layer and with a few more; the difference gives the
time of each further layer.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from fine_tune_assets.engines.transformers_models import best_device
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.lora.peft_adapters import has_gradient_checkpointing, load_trainable_model
from fine_tune_assets.training.planning.peak_memory import read_base_size
from fine_tune_assets.training.planning.shapes import Pass
from fine_tune_assets.training.supervision.supervised_loss import score_positions

ROUNDS = 3
"""The median counts, because a training runs at the typical speed of its machine, not at the best."""
EXTRA_LAYERS = 3
"""Layers added to the first. A layer is a small part of a pass through one layer and the output layer, and its time is multiplied
by the number of layers: with a single additional one, planned times were up to a third off."""


@dataclass(frozen=True)
class PassTiming:
    """Seconds of a pass."""

    typical: float
    warmup: float
    """Additional seconds of the first pass."""


@dataclass(frozen=True)
class PassTime:
    """Seconds of a pass as a linear function of its tokens, including padding."""

    constant: float
    per_token: float

    def seconds_for(self, tokens: int) -> float:
        return max(0.0, self.constant + self.per_token * tokens)


@dataclass(frozen=True)
class StepTime:
    training: PassTime
    """Forward and backward."""
    evaluation: PassTime
    """Forward only."""
    warmup: float
    """Additional seconds of all first passes, for memory allocation and kernel selection."""


def measure_step_time(base_folder: Path, settings: TrainingSettings, small: Pass, large: Pass) -> StepTime:
    """Takes as long as several passes through a few layers. `small` and `large` should bracket most passes."""
    layers = read_base_size(base_folder).layers
    few, many = 1, min(layers, 1 + EXTRA_LAYERS)
    models = [_load_layers(base_folder, settings, count) for count in (few, many)]

    def time_complete_model(one: Pass, is_learning: bool) -> PassTiming:
        """The time of the complete model."""
        short, long = _time_passes(models, one, is_learning)
        layer_ratio = (layers - many) / max(1, many - few)
        # The first model also pays for what happens once per process.
        layer_warmup = long.warmup / many
        fixed_warmup = max(0.0, short.warmup - layer_warmup * few)
        return PassTiming(
            long.typical + max(0.0, long.typical - short.typical) * layer_ratio, fixed_warmup + layer_warmup * layers
        )

    training_times, evaluation_times = (
        [time_complete_model(one, is_learning) for one in (small, large)] for is_learning in (True, False)
    )
    return StepTime(
        _fit_line(small, large, *(timed.typical for timed in training_times)),
        _fit_line(small, large, *(timed.typical for timed in evaluation_times)),
        sum(timed.warmup for timed in (*training_times, *evaluation_times)),
    )


def _load_layers(base_folder: Path, settings: TrainingSettings, layers: int) -> Any:
    model = load_trainable_model(base_folder, settings, layers=layers)
    if has_gradient_checkpointing(settings):
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _fit_line(small: Pass, large: Pass, seconds_small: float, seconds_large: float) -> PassTime:
    small_tokens, large_tokens = small.rows * small.tokens, large.rows * large.tokens
    if large_tokens == small_tokens:
        return PassTime(0.0, seconds_large / large_tokens)
    slope = max(0.0, seconds_large - seconds_small) / (large_tokens - small_tokens)
    return PassTime(seconds_large - slope * large_tokens, slope)


def _time_passes(models: Sequence[Any], one: Pass, is_learning: bool) -> list[PassTiming]:
    """Timings of each model, interleaved, so that a slowdown of the machine affects all of them."""
    rounds = [[_time_pass(model, one, is_learning) for model in models] for _ in range(ROUNDS + 1)]
    return [PassTiming(usual := median(later), max(0.0, first - usual)) for first, *later in zip(*rounds, strict=True)]


def _time_pass(model: Any, one: Pass, is_learning: bool) -> float:
    model.train(is_learning)
    start = time.perf_counter()
    _run_pass(model, one, is_learning)
    if best_device() == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _run_pass(model: Any, one: Pass, is_learning: bool) -> None:
    base = model.get_base_model()
    ids = torch.zeros((one.rows, one.tokens), dtype=torch.long, device=base.device)
    on_gpu = best_device() == "cuda"
    with torch.set_grad_enabled(is_learning), torch.autocast(base.device.type, torch.bfloat16, enabled=on_gpu):
        hidden = base.base_model(input_ids=ids, use_cache=False, **_attention_inputs(one, ids)).last_hidden_state
        rows = hidden.reshape(-1, hidden.shape[-1])[: max(1, one.supervised_tokens)]
        labels = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
        loss = -score_positions(rows, labels, base.get_output_embeddings())[0].sum()
    if is_learning:
        loss.backward()
        model.zero_grad()


def _attention_inputs(one: Pass, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Inputs as in training: positions restart at each packed example; other rows have a padding mask."""
    if one.examples == 1:
        return {"attention_mask": torch.ones_like(ids)}
    places = torch.arange(one.tokens, device=ids.device) % -(-one.tokens // one.examples)
    return {"position_ids": places.expand_as(ids)}
