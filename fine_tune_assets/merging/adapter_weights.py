"""Reads what an adapter adds to each weight from its files, without loading a model.

Follows PEFT's names and arithmetic for LoRA, rsLoRA, rank and alpha patterns, and DoRA, so that the result equals PEFT's bit for
bit. Unknown adapter features are rejected, never ignored.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file

from fine_tune_assets.core.errors import FineTuneError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_PARTS = {"lora_A.weight": "a", "lora_B.weight": "b", "lora_magnitude_vector": "magnitude"}
_UNSUPPORTED_SETTINGS = (
    "modules_to_save", "trainable_token_indices", "layer_replication", "target_parameters", "lora_bias", "use_qalora",
    "alora_invocation_tokens", "kasa_config", "use_bdlora", "monteclora_config", "velora_config", "arrow_config",
    "megatron_config",
)  # fmt: skip
"""PEFT settings under which an adapter is more than a product of two matrices."""


class UnmergeableError(FineTuneError):
    """The adapter can't be merged tensor by tensor."""


@dataclass(frozen=True)
class Delta:
    """An adapter's change to one weight."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    is_transposed: bool
    """Whether the weight is stored as [in, out], as in transformers' Conv1D."""
    magnitude: torch.Tensor | None
    """DoRA magnitude; None for LoRA."""

    def apply_to(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the float32 `weight` merged, in PEFT's order of operations."""
        product = self._orient(self.b @ self.a) * self.scaling
        if product.shape != weight.shape:
            raise UnmergeableError(
                f"The adapter adds {tuple(product.shape)} to a weight of shape {tuple(weight.shape)}. "
                "Check that it was trained on this base model."
            )
        if self.magnitude is None:
            return weight.add_(product)
        norm = torch.linalg.norm(self._orient(weight) + self._orient(product), dim=1)
        return self._orient((self.magnitude / norm).view(-1, 1)) * (weight + product)

    def _orient(self, matrix: torch.Tensor) -> torch.Tensor:
        return matrix.T if self.is_transposed else matrix


def read_deltas(adapter: Path) -> dict[str, Delta]:
    """Return the changes by layer of the base model. Raises UnmergeableError."""
    config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    require_mergeable(config)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in load_file(adapter / WEIGHTS).items():
        layer, part = _parse_name(name)
        parts.setdefault(layer, {})[part] = tensor.float()
    return {layer: _make_delta(layer, found, config) for layer, found in parts.items()}


def require_mergeable(config: Mapping[str, Any]) -> None:
    """Raise UnmergeableError unless the adapter is plain LoRA or DoRA."""
    set_here = [name for name in _UNSUPPORTED_SETTINGS if config.get(name)]
    set_here += ["bias"] if config.get("bias", "none") != "none" else []
    set_here += ["peft_type"] if config.get("peft_type") != "LORA" else []
    if set_here:
        raise UnmergeableError(
            f"The adapter uses {', '.join(set_here)}, which can't be merged tensor by tensor. Merge it on a machine "
            "with more memory."
        )


def _parse_name(name: str) -> tuple[str, str]:
    for ending, part in _PARTS.items():
        stem = name.removesuffix(".weight") if part == "magnitude" else name
        if name.startswith(_PREFIX) and stem.endswith(f".{ending}"):
            return stem[len(_PREFIX) : -len(ending) - 1], part
    raise UnmergeableError(f"The adapter contains {name}, which can't be merged tensor by tensor.")


def _make_delta(layer: str, parts: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Delta:
    if not {"a", "b"} <= parts.keys() or bool(config.get("use_dora")) != ("magnitude" in parts):
        raise UnmergeableError(f"The adapter is incomplete at {layer}. Train it again.")
    rank, alpha = (
        _layer_setting(layer, config, *names) for names in (("rank_pattern", "r"), ("alpha_pattern", "lora_alpha"))
    )
    if parts["a"].shape[0] != rank:
        raise UnmergeableError(
            f"The adapter's rank at {layer} is {parts['a'].shape[0]}, but its configuration says {rank}."
        )
    scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Delta(parts["a"], parts["b"], scaling, bool(config.get("fan_in_fan_out")), parts.get("magnitude"))


def _layer_setting(layer: str, config: Mapping[str, Any], pattern: str, usual: str) -> int:
    patterns: dict[str, int] = config.get(pattern) or {}
    return patterns.get(get_pattern_key(list(patterns), layer), int(config[usual]))
