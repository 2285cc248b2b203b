"""Sizes of a model's weights and KV cache from its config.json, before any weights exist.

`gguf_header` reads the same from a GGUF file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.recipes.export_settings import COMPRESSED_FORMATS, LORA, LORA_SAFETENSORS

GPU_USABLE_FRACTION = 0.95
"""Fraction of a GPU's memory that tensors can use; the rest is fragmentation."""
_BITS_PER_WEIGHT: Mapping[str, float] = {
    "float16": 16.0,
    "bfloat16": 16.0,
    LORA_SAFETENSORS: 16.0,
    "f16": 16.0,
    "bf16": 16.0,
    "q8_0": 8.5008,
    "q6_k": 6.5633,
    "q5_k_m": 5.7036,
    "q4_k_m": 4.8944,
    "fp8_dynamic": 8.0,
    "w4a16": 4.125,
    LORA: 5.85,
}
"""Number format of merged weights, or export format → bits of each weight that an engine loads. GGUF formats: Llama 3.1 8B in
llama.cpp's tools/quantize/README.md; models with rows that are not a multiple of 256 are larger (SmolLM2-135M, `q4_k_m`: 6.2).
`w4a16`: groups of 128 with a 16-bit scale. `lora_f16`: the bundled base model's GGUF."""


@dataclass(frozen=True)
class ModelShape:
    parameters: int
    vocabulary: int
    hidden_size: int
    layers: int
    kv_heads: int
    """Heads of keys and of values; fewer than attention heads with grouped-query attention."""
    head_dim: int

    @property
    def embedding_weights(self) -> int:
        """Weights of the embeddings, the largest tensor of most models."""
        return self.vocabulary * self.hidden_size

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token in 16 bits: 2 × layers × kv_heads × head_dim × 2 bytes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2


def read_model_shape(folder: Path, parameters: int) -> ModelShape:
    """From the folder's config.json, which does not state the number of `parameters`. Raises ModelFolderError."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config") or config
    hidden, heads = _read_count(config, "hidden_size", "n_embd"), _read_count(config, "num_attention_heads", "n_head")
    return ModelShape(
        parameters=parameters,
        vocabulary=_read_count(config, "vocab_size"),
        hidden_size=hidden,
        layers=_read_count(config, "num_hidden_layers", "n_layer"),
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
    )


def _read_count(config: Mapping[str, Any], *names: str) -> int:
    found = next((config[name] for name in names if type(config.get(name)) is int and config[name] > 0), None)
    if found is None:
        raise ModelFolderError(
            f"config.json states no {names[0]}, so merge and serving of this model can't be planned."
        )
    return int(found)


def weights_bytes(shape: ModelShape, weights_format: str) -> int:
    """Memory of the weights in a number format or export format; an adapter's format is that of its base model."""
    bits = _BITS_PER_WEIGHT[weights_format]
    if weights_format not in COMPRESSED_FORMATS:
        return int(shape.parameters * bits / 8)
    # Embeddings and output layer stay in 16 bits.
    plain = min(shape.parameters, 2 * shape.embedding_weights)
    return int(2 * plain + (shape.parameters - plain) * bits / 8)
