"""Small adapters and the requests that evaluate them."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.fingerprints import fingerprint_folder

CONVERSATIONS = [[{"role": "user", "content": text}] for text in ("The patient coughs.", "No fever.", "Rest and ice.")]


def _base(folder: Path, tokenizer_from: Path, seed: int) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_from)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def small_adapter(folder: Path, base: Path, seed: int) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=64, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(folder)
    return folder


def quantized_adapter(folder: Path, base: Path, seed: int) -> Path:
    """A QLoRA adapter, with the record of its quantization."""
    from fine_tune_assets.engines.nf4 import QUANTIZATION_FILE, detect_quantization
    from fine_tune_assets.engines.transformers_models import load_model

    record = detect_quantization(load_model(base, is_quantized=True))
    assert record is not None
    small_adapter(folder, base, seed)
    (folder / QUANTIZATION_FILE).write_text(record.as_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folders(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("contestants")
    base, other = _base(root / "base", smollm2, 1), _base(root / "other", smollm2, 2)
    return {
        "base": base,
        "adapter": small_adapter(root / "adapter", base, 3),
        "older": small_adapter(root / "older", base, 4),
        "other": other,
        "quantized": quantized_adapter(root / "quantized", base, 4),
    }


def evaluation_request(folders: dict[str, Path], **changes: Any) -> dict[str, Any]:
    return {
        "base_folder": str(folders["base"]),
        "base_fingerprint": fingerprint_folder(folders["base"]),
        "adapter_folder": str(folders["adapter"]),
        "adapter_id": fingerprint_folder(folders["adapter"]),
        "is_quantized": False,
        "merged_dtype": "float16",
        "threads": 2,
        "max_new_tokens": 12,
        "batch_size": 2,
        "incumbent": "",
        "incumbent_adapter": "",
        "incumbent_weights": "",
        "incumbent_weights_fingerprint": "",
        **changes,
    }


def as_incumbent(folders: dict[str, Path], name: str) -> dict[str, str]:
    return {"incumbent": fingerprint_folder(folders[name]), "incumbent_adapter": str(folders[name])}
