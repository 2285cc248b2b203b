"""Writes a LoRA adapter as a GGUF that llama.cpp applies to the base model's own GGUF.

The base file stays as it is, byte for byte, so a release of a few megabytes is enough where the base is installed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fine_tune_assets.merging.adapters import Delta, read_deltas
from fine_tune_assets.merging.gguf_reading import ExportError

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""`model_type` of transformers → llama.cpp's architecture. Others name or order their weights in ways not covered here."""
_PERMUTED = ("q_proj", "k_proj")
"""llama.cpp's `llama` keeps the rows of these in another order: rotary pairs lie side by side."""


def write_lora_gguf(adapter: Path, base_config: Mapping[str, Any], file: Path) -> None:
    """`adapter` is a PEFT folder. Scaling is folded into B, so rank patterns and rsLoRA need nothing of the reader. Raises
    ExportError for DoRA and for architectures that are not covered."""
    from gguf import GGUFWriter, get_tensor_name_map
    from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES

    model_type = str(base_config.get("model_type"))
    if model_type not in ARCHITECTURES:
        raise ExportError(
            f"lora_f16 covers {', '.join(ARCHITECTURES)}, and this model is {model_type}. Choose another export."
        )
    architecture = ARCHITECTURES[model_type]
    arch = next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
    assert isinstance(arch, MODEL_ARCH)
    names = get_tensor_name_map(arch, int(base_config["num_hidden_layers"]))
    writer = GGUFWriter(file, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 0.0)  # 0: B already holds the scaling
    for layer, delta in sorted(read_deltas(adapter).items()):
        name = names.get_name(f"{layer}.weight", try_suffixes=(".weight",))
        if name is None or delta.magnitude is not None:
            raise ExportError(f"lora_f16 cannot hold what the adapter does to {layer}. Choose another export.")
        a, b = _matrices(layer, delta, base_config if architecture == "llama" else None)
        writer.add_tensor(f"{name}.lora_a", a)
        writer.add_tensor(f"{name}.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _matrices(layer: str, delta: Delta, permuted_for: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """A of shape [rank, in] and B of shape [out, rank], in float16."""
    if delta.is_transposed:
        raise ExportError(f"lora_f16 cannot hold what the adapter does to {layer}. Choose another export.")
    b = (delta.b * delta.scaling).numpy()
    part = layer.rpartition(".")[2]
    if permuted_for is not None and part in _PERMUTED:
        heads = "num_attention_heads" if part == "q_proj" else "num_key_value_heads"
        b = _permuted(b, int(permuted_for.get(heads) or permuted_for["num_attention_heads"]))
    return delta.a.numpy().astype(np.float16), np.ascontiguousarray(b).astype(np.float16)


def _permuted(rows: Any, heads: int) -> Any:
    """Within each head the first and second half of its rows are interleaved."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def base_config_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
