"""Loads model folders with the installed transformers and records the results: `python loader_proof.py OUT.json FOLDER...`.

Imports nothing from the project, so that it runs in another environment. Also writes tiny models of several families.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXTS = (
    "Patient seen on 12/03, BP 128/84, 10 mg twice daily.\n\n2. Type 2 diabetes\n\n\n3 months",
    "It's 🙂 for Straße 45",
)
SIZE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "vocab_size": 49152, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip
_LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 128}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"rope_parameters": {"rope_type": "default", "rope_theta": 777.0}}),
    "llama3": ("LlamaConfig", {"rope_parameters": {**_LLAMA3, "rope_theta": 500.0}}),
    "mistral": ("MistralConfig", {"rope_parameters": {"rope_type": "default", "rope_theta": 999.0}, "sliding_window": None}),
    "qwen2": ("Qwen2Config", {"rope_parameters": {"rope_type": "default", "rope_theta": 555.0}}),
    "qwen3": ("Qwen3Config", {"rope_parameters": {"rope_type": "default", "rope_theta": 333.0}}),
    "gemma3": ("Gemma3TextConfig", {"rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 700.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
    }, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16, "query_pre_attn_scalar": 8}),
    "phi3": ("Phi3Config", {"rope_parameters": {"rope_type": "default", "rope_theta": 444.0}}),
}  # fmt: skip
"""Family → its configuration class and options, with rotary bases that differ from every version's default."""


@dataclass(frozen=True)
class Difference:
    same_tokens: bool
    matching_prompts: bool
    largest: float
    """Largest difference of log-probabilities, in nats."""


def prove(folder: Path) -> dict[str, Any]:
    """Token ids, the rendered prompt, and the log-probabilities of 500 tokens at each position of the first text."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": TEXTS[0]}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    with torch.inference_mode():
        values = torch.log_softmax(model(torch.tensor([tokens[0]])).logits[0].float(), dim=-1)
    return {"tokens": tokens, "prompt": prompt, "log_probabilities": values[:, :500].tolist()}


def compare(first: dict[str, Any], second: dict[str, Any]) -> Difference:
    pairs = zip(first["log_probabilities"], second["log_probabilities"], strict=True)
    largest = max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))
    return Difference(first["tokens"] == second["tokens"], first["prompt"] == second["prompt"], largest)


def write_family(name: str, folder: Path, tokenizer: Path) -> Path:
    """A tiny model with random weights, saved by transformers 5 and made compatible."""
    import torch
    import transformers

    from fine_tune_assets.engines.compatibility import make_compatible

    kind, options = FAMILIES[name]
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**{**SIZE, **options})
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(8)  # otherwise all values are near zero, and any rotary base gives about the same
    model.save_pretrained(folder)
    for path in tokenizer.glob("*token*"):
        shutil.copy(path, folder)
    shutil.copy(tokenizer / "chat_template.jinja", folder)
    make_compatible(folder)
    return folder


if __name__ == "__main__":
    import transformers

    found = {folder: prove(Path(folder)) for folder in sys.argv[2:]}
    Path(sys.argv[1]).write_text(json.dumps({"version": transformers.__version__, "models": found}))
