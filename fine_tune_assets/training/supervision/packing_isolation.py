"""Verifies for a given model that packed examples do not attend to each other.

If positions restart at each example, transformers isolates the examples of a packed row (sdpa and flash attention; not every
architecture). The check compares the loss of examples packed and one at a time.
"""

from typing import Any

import torch

from fine_tune_assets.engines.nf4 import detect_quantization
from fine_tune_assets.engines.transformers_models import training_autocast
from fine_tune_assets.training.failures import TrainingError
from fine_tune_assets.training.supervision.loss_mask import IGNORE_INDEX

TOLERANCE = {torch.float32: 1e-5}
"""Nats per token. In float32 on a CPU, the difference is less than 1e-6 (SmolLM2-135M)."""
HALF_PRECISION_TOLERANCE = 0.03
"""For 16 bits, where the order of sums matters: 0.008 with SmolLM2-135M in NF4 on a CPU, against 1.3 if an example attends to
another."""


def require_isolation(model: Any, row: dict[str, list[int]]) -> float:
    """Compare the loss of a packed row (`input_ids`, `labels`, `seq_lengths`) with the loss of its examples one at a time.

    Returns the difference in nats per supervised token. Raises TrainingError if it exceeds rounding errors.
    """
    parts = _split_row(row)
    model.eval()
    with torch.no_grad():  # not inference_mode, whose tensors a sharded model cannot be trained with later
        positions = [position for length in row["seq_lengths"] for position in range(length)]
        packed = _loss_sum(model, row["input_ids"], positions, _packed_labels(parts))
        separate = sum(_loss_sum(model, ids, range(len(ids)), labels) for ids, labels in parts)
    model.train()
    count = sum(label != IGNORE_INDEX for _, labels in parts for label in labels[1:])
    difference = abs(packed - separate) / max(1, count)
    if not difference <= TOLERANCE.get(_compute_dtype(model), HALF_PRECISION_TOLERANCE):
        raise TrainingError(
            f"With this base model, packed examples attend to each other (loss difference {difference:.4f} nats per token). "
            "Set training.packing: never in the recipe."
        )
    return difference


def _compute_dtype(model: Any) -> torch.dtype:
    """Data type of the layers' computation: 4-bit layers compute in 16 bits, even if other weights have 32."""
    quantization = detect_quantization(model)
    found: torch.dtype = getattr(torch, quantization.compute_dtype) if quantization else model.dtype
    return found


def _split_row(row: dict[str, list[int]]) -> list[tuple[list[int], list[int]]]:
    parts, start = [], 0
    for length in row["seq_lengths"]:
        parts.append((row["input_ids"][start : start + length], row["labels"][start : start + length]))
        start += length
    return parts


def _packed_labels(parts: list[tuple[list[int], list[int]]]) -> list[int]:
    """The first token of each example has no label."""
    return [label for _, labels in parts for label in (IGNORE_INDEX, *labels[1:])]


def _loss_sum(model: Any, ids: list[int], positions: Any, labels: list[int]) -> float:
    with training_autocast():
        logits = model(
            input_ids=torch.tensor([ids], device=model.device),
            position_ids=torch.tensor([list(positions)], device=model.device),
            use_cache=False,
        ).logits[0, :-1]
    targets = torch.tensor(labels[1:], device=model.device)
    return float(torch.nn.functional.cross_entropy(logits.float(), targets, ignore_index=IGNORE_INDEX, reduction="sum"))
