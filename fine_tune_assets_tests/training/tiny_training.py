"""A one-layer Llama with a byte tokenizer, and examples for it: a training takes seconds."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.recipes.schema import TrainingSettings

SETTINGS = TrainingSettings(
    method="lora", rank=2, alpha=2, dropout=0.0, learning_rate=1e-3, epochs=1, batch_size=2, gradient_accumulation=1,
    max_length=400, warmup_fraction=0.0, seed=1,
)  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def base_model(folder: Path, norm: float, layers: int = 1) -> Path:
    """A Llama with random weights and a byte tokenizer; all weights of its last norm are `norm`."""
    go_offline()
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    reader = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    reader.pre_tokenizer, reader.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=reader, eos_token="<end>", pad_token="<pad>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=2
    )
    model: Any = LlamaForCausalLM(config)
    torch.nn.init.constant_(model.model.norm.weight, norm)
    model.save_pretrained(folder)
    return folder


def instruction_set(train: int = 4, validation: int = 2) -> pa.Table:
    """Conversations of various lengths."""
    rows = []
    for number in range(train + validation):
        weeks = "A cough for three weeks. " * (1 + number % 5)
        messages = build_conversation("Be brief.", "Summarize.", f"{weeks}Visit {number}.", f"Cough, visit {number}.")
        split = "train" if number < train else "validation"
        rows.append({"example_id": f"e-{number}", "split": split, "messages": messages})
    return pa.Table.from_pylist(rows)


def train_request(data: Path, folder: Path, settings: TrainingSettings) -> dict[str, Any]:
    """A request for the trainer: base model and `set.parquet` are below `data`, outputs below `folder`."""
    return {
        "action": "train",
        "instruction_set": str(data / "set.parquet"),
        "base_folder": str(data / "base"),
        "base_fingerprint": fingerprint_folder(data / "base"),
        "adapters_dir": str(folder / "adapters"),
        "checkpoints_dir": str(folder / "checkpoints"),
        "settings": asdict(settings),
        "threads": 1,
    }
