"""How long a pass through the model takes on this machine, measured with its first two layers.

Owns the measurement: the real layers, weights and adapter, forwards and backwards, once with one layer and once with two. What
the second one adds is what every further one adds. Does not know how many passes there are.
"""

import time
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from fine_tune_assets.engines.transformers_models import best_device
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.adapting import adapted_model, uses_checkpointing
from fine_tune_assets.training.peak_memory import base_facts
from fine_tune_assets.training.shapes import Pass
from fine_tune_assets.training.supervised_loss import score_positions

ROUNDS = 3
"""The fastest counts: whatever else runs only makes it slower."""


@dataclass(frozen=True)
class Timed:
    """Seconds of one kind of pass."""

    fastest: float
    first: float


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
    """Seconds that the first of the large passes takes longer: memory is asked for, kernels are chosen."""


def measure_step_time(base_folder: Path, settings: TrainingSettings, small: Pass, large: Pass) -> StepTime:
    """Takes as long as a few passes through two layers. `small` and `large`: what most passes lie between."""
    layers = base_facts(base_folder).layers
    seconds: dict[tuple[int, Pass, bool], Timed] = {}
    for count in (1, 2):
        model = adapted_model(base_folder, settings, layers=count)
        if uses_checkpointing(settings):
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        for one in (small, large):
            for is_learning in (True, False):
                seconds[count, one, is_learning] = _timed(model, one, is_learning)
        del model

    def whole(one: Pass, is_learning: bool) -> Timed:
        """Of all layers."""
        single, double = (seconds[count, one, is_learning] for count in (1, 2))
        fastest, first = (
            b + max(0.0, a - b) * (layers - 1) for b, a in zip(astuple(single), astuple(double), strict=True)
        )
        return Timed(fastest, first)

    def line(is_learning: bool) -> PassTime:
        return _line(small, large, whole(small, is_learning).fastest, whole(large, is_learning).fastest)

    learned = whole(large, True)
    return StepTime(line(True), line(False), max(0.0, learned.first - learned.fastest))


def _line(small: Pass, large: Pass, seconds_small: float, seconds_large: float) -> PassTime:
    few, many = small.rows * small.tokens, large.rows * large.tokens
    if many == few:
        return PassTime(0.0, seconds_large / many)
    slope = max(0.0, seconds_large - seconds_small) / (many - few)
    return PassTime(seconds_large - slope * many, slope)


def _timed(model: Any, one: Pass, is_learning: bool) -> Timed:
    model.train(is_learning)
    found = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        _pass(model, one, is_learning)
        if best_device() == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return Timed(min(found[1:]), found[0])


def _pass(model: Any, one: Pass, is_learning: bool) -> None:
    base = model.get_base_model()
    ids = torch.zeros((one.rows, one.tokens), dtype=torch.long, device=base.device)
    on_gpu = best_device() == "cuda"
    with torch.set_grad_enabled(is_learning), torch.autocast(base.device.type, torch.bfloat16, enabled=on_gpu):
        hidden = base.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).last_hidden_state
        rows = hidden.reshape(-1, hidden.shape[-1])[: max(1, one.learned)]
        labels = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
        loss = -score_positions(rows, labels, base.get_output_embeddings())[0].sum()
    if is_learning:
        loss.backward()
        model.zero_grad()
