"""A complete but tiny model folder with valid files, written without torch."""

import json
import struct
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers

WEIGHTS = {"model.embed_tokens.weight": (4, 2), "lm_head.weight": (4, 2)}
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}:\n{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 4,
    "max_position_embeddings": 128,
    "eos_token_id": 3,
}


def safetensors(shapes: dict[str, tuple[int, ...]], **changes: Any) -> bytes:
    """A Safetensors file of 16-bit zeros; `changes` overrides entries of its header."""
    entries, position = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * shape[1]
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    header = json.dumps({**entries, **changes}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(position)


def write_small_model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"})
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A small model\n")
    (folder / "model.safetensors").write_bytes(safetensors(WEIGHTS))
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
