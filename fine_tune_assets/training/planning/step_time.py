"""How long a pass through the model takes on this machine, measured with its first layers.

Owns the measurement: the real layers, weights and adapter, forwards and backwards, with one layer and with some more. What these
add is what every further one adds. Does not know how many passes there are.
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
from fine_tune_assets.training.lora.adapters import adapted_model, uses_checkpointing
from fine_tune_assets.training.planning.peak_memory import base_facts
from fine_tune_assets.training.planning.shapes import Pass
from fine_tune_assets.training.supervision.supervised_loss import score_positions

ROUNDS = 3
"""The middle one counts: a training meets the usual speed of its machine, not the best."""
MORE_LAYERS = 3
"""That are added to the first. A layer is a small part of a pass through one layer and the output layer, and its time is
multiplied by the number of all layers: with a single one more, planned times were up to a third off."""


@dataclass(frozen=True)
class Timed:
    """Seconds of one kind of pass."""

    usual: float
    warming_up: float
    """That the first one takes longer."""


@dataclass(frozen=True)
class PassTime:
    """Seconds of a pass, as a line in its tokens with padding."""

    constant: float
    per_token: float

    def of(self, tokens: int) -> float:
        return max(0.0, self.constant + self.per_token * tokens)


@dataclass(frozen=True)
class StepTime:
    learning: PassTime
    """Forwards and backwards."""
    reading: PassTime
    """Forwards only, as in an evaluation."""
    warming_up: float
    """Seconds that the first passes take longer, together: memory is asked for, kernels are chosen."""


def measure_step_time(base_folder: Path, settings: TrainingSettings, small: Pass, large: Pass) -> StepTime:
    """Takes as long as some passes through a few layers. `small` and `large`: what most passes lie between."""
    layers = base_facts(base_folder).layers
    few, many = 1, min(layers, 1 + MORE_LAYERS)
    models = [_model_of(base_folder, settings, count) for count in (few, many)]

    def whole(one: Pass, is_learning: bool) -> Timed:
        """Of all layers."""
        short, long = _timed(models, one, is_learning)
        further = (layers - many) / max(1, many - few)
        # What is done once in a process, the model that goes first has done for both.
        each = long.warming_up / many
        once = max(0.0, short.warming_up - each * few)
        return Timed(long.usual + max(0.0, long.usual - short.usual) * further, once + each * layers)

    learning, reading = ([whole(one, is_learning) for one in (small, large)] for is_learning in (True, False))
    return StepTime(
        _line(small, large, *(timed.usual for timed in learning)),
        _line(small, large, *(timed.usual for timed in reading)),
        sum(timed.warming_up for timed in (*learning, *reading)),
    )


def _model_of(base_folder: Path, settings: TrainingSettings, layers: int) -> Any:
    model = adapted_model(base_folder, settings, layers=layers)
    if uses_checkpointing(settings):
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _line(small: Pass, large: Pass, seconds_small: float, seconds_large: float) -> PassTime:
    few, many = small.rows * small.tokens, large.rows * large.tokens
    if many == few:
        return PassTime(0.0, seconds_large / many)
    slope = max(0.0, seconds_large - seconds_small) / (many - few)
    return PassTime(seconds_large - slope * many, slope)


def _timed(models: Sequence[Any], one: Pass, is_learning: bool) -> list[Timed]:
    """Of each model. In turns, so that a machine that grows slower meanwhile does so for all."""
    found = [[_seconds(model, one, is_learning) for model in models] for _ in range(ROUNDS + 1)]
    return [Timed(usual := median(later), max(0.0, first - usual)) for first, *later in zip(*found, strict=True)]


def _seconds(model: Any, one: Pass, is_learning: bool) -> float:
    model.train(is_learning)
    began = time.perf_counter()
    _pass(model, one, is_learning)
    if best_device() == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _pass(model: Any, one: Pass, is_learning: bool) -> None:
    base = model.get_base_model()
    ids = torch.zeros((one.rows, one.tokens), dtype=torch.long, device=base.device)
    on_gpu = best_device() == "cuda"
    with torch.set_grad_enabled(is_learning), torch.autocast(base.device.type, torch.bfloat16, enabled=on_gpu):
        hidden = base.base_model(input_ids=ids, use_cache=False, **_read_as(one, ids)).last_hidden_state
        rows = hidden.reshape(-1, hidden.shape[-1])[: max(1, one.learned)]
        labels = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
        loss = -score_positions(rows, labels, base.get_output_embeddings())[0].sum()
    if is_learning:
        loss.backward()
        model.zero_grad()


def _read_as(one: Pass, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """As the trainer has it read: packed examples each with positions of their own, others with a mask of what is padding."""
    if one.examples == 1:
        return {"attention_mask": torch.ones_like(ids)}
    places = torch.arange(one.tokens, device=ids.device) % -(-one.tokens // one.examples)
    return {"position_ids": places.expand_as(ids)}
