"""Merges an adapter into a base model with PEFT, the model whole in memory. Owns nothing but that."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from fine_tune_assets.engines.nf4 import Quantization, round_trip
from fine_tune_assets.engines.transformers_models import best_device
from fine_tune_assets.merging.shards import SHARD_BYTES


def merge_whole(base: Path, adapter: Path, quantization: Quantization | None, dtype: str, folder: Path) -> None:
    """Write the merged weights and their configuration into `folder`.

    In 32 bits and on the CPU, whatever trained: in 16 bits the sum would be rounded once more. What was quantised on a GPU is
    quantised there again.
    """
    model: Any = AutoModelForCausalLM.from_pretrained(
        base,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        device_map="cpu",
    )
    if quantization is not None:
        for name in quantization.modules:
            weight = model.get_submodule(name).weight
            weight.data = round_trip(weight.data, quantization, best_device())
    merged: Any = PeftModel.from_pretrained(model, adapter, torch_device="cpu").merge_and_unload()
    merged.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=SHARD_BYTES)
