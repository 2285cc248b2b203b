"""Adapters that change the small model without training, and conversations to probe it."""

from pathlib import Path
from typing import Any

from fine_tune_assets.core.prompts.conversations import Message, build_conversation
from fine_tune_assets.recipes.export_settings import ParityLimits

SYSTEM_PROMPT = "Be brief."
TEXTS = ("Patient: I have had a cough for three weeks.", "Patient: I take 40 mg of lisinopril every day.")
CONVERSATIONS: list[list[Message]] = [
    build_conversation(SYSTEM_PROMPT, "Summarise.", text, "Cough for three weeks.") for text in TEXTS
]
LIMITS = ParityLimits(maximum_kl=0.002, minimum_top1=0.99, minimum_greedy_agreement=0.75, maximum_loss_increase=0.01)
ANYTHING = ParityLimits(maximum_kl=1e9, minimum_top1=0, minimum_greedy_agreement=0, maximum_loss_increase=1e9)


def make_adapter(base: Path, folder: Path, is_quantized: bool = False, scale: float = 1.0, **config: Any) -> Path:
    """Random weights, so that no training is needed; stored with its record like a trained adapter."""
    import torch
    from peft import LoraConfig, get_peft_model

    from fine_tune_assets.engines.nf4 import QUANTIZATION_FILE, detect_quantization
    from fine_tune_assets.engines.transformers_models import load_model

    torch.manual_seed(7)
    usual: dict[str, Any] = {"r": 4, "lora_alpha": 4, "target_modules": "all-linear", "init_lora_weights": False}
    lora = LoraConfig(task_type="CAUSAL_LM", **{**usual, **config})
    model: Any = get_peft_model(load_model(base, is_quantized), lora)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            weights.data *= scale
        if "lora_magnitude" in name:
            weights.data *= 1.1
    model.save_pretrained(folder)
    quantization = detect_quantization(model)
    if quantization is not None:
        (folder / QUANTIZATION_FILE).write_text(quantization.as_json(), encoding="utf-8")
    return folder
