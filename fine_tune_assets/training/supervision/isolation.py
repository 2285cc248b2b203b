"""The proof that packed examples do not see each other, on the model at hand.

With positions that start anew at each example, transformers keeps examples of a packed row apart (sdpa and flash attention; not
every architecture). Owns measuring that: the same examples must lose the same, packed and one by one.
"""

from typing import Any

import torch

from fine_tune_assets.engines.nf4 import quantization_of
from fine_tune_assets.engines.transformers_models import in_training_format
from fine_tune_assets.training.failures import TrainingError
from fine_tune_assets.training.supervision.loss_mask import IGNORED

TOLERANCE = {torch.float32: 1e-5}
"""Nats a token. Float32 on a CPU differs by less than 1e-6 (SmolLM2-135M)."""
COARSE_TOLERANCE = 0.03
"""In 16 bits, whose sums differ by how they are cut up: 0.008 with SmolLM2-135M in NF4 on a CPU, where an example that sees
another differs by 1.3."""


def require_isolation(model: Any, row: dict[str, list[int]]) -> float:
    """Compare the loss of a packed row (`input_ids`, `labels`, `seq_lengths`) with that of its examples one by one.

    Returns the difference in nats a supervised token. Raises TrainingError if it is more than rounding.
    """
    parts = _cut(row)
    model.eval()
    with torch.no_grad():  # not inference_mode, whose tensors a sharded model can't learn with later
        positions = [position for length in row["seq_lengths"] for position in range(length)]
        packed = _loss_sum(model, row["input_ids"], positions, _labels(parts))
        apart = sum(_loss_sum(model, ids, range(len(ids)), labels) for ids, labels in parts)
    model.train()
    count = sum(label != IGNORED for _, labels in parts for label in labels[1:])
    difference = abs(packed - apart) / max(1, count)
    if not difference <= TOLERANCE.get(_computed_in(model), COARSE_TOLERANCE):
        raise TrainingError(
            f"With this base model packed examples see each other (their loss differs by {difference:.4f} nats a token). "
            "Set training.packing: never in the recipe."
        )
    return difference


def _computed_in(model: Any) -> torch.dtype:
    """Of the layers: those in 4 bits compute in 16, also in a model whose other weights have 32."""
    quantization = quantization_of(model)
    found: torch.dtype = getattr(torch, quantization.compute_dtype) if quantization else model.dtype
    return found


def _cut(row: dict[str, list[int]]) -> list[tuple[list[int], list[int]]]:
    parts, start = [], 0
    for length in row["seq_lengths"]:
        parts.append((row["input_ids"][start : start + length], row["labels"][start : start + length]))
        start += length
    return parts


def _labels(parts: list[tuple[list[int], list[int]]]) -> list[int]:
    """The first token of an example follows from nothing."""
    return [label for _, labels in parts for label in (IGNORED, *labels[1:])]


def _loss_sum(model: Any, ids: list[int], positions: Any, labels: list[int]) -> float:
    with in_training_format():
        logits = model(
            input_ids=torch.tensor([ids], device=model.device),
            position_ids=torch.tensor([list(positions)], device=model.device),
            use_cache=False,
        ).logits[0, :-1]
    wanted = torch.tensor(labels[1:], device=model.device)
    return float(torch.nn.functional.cross_entropy(logits.float(), wanted, ignore_index=IGNORED, reduction="sum"))
