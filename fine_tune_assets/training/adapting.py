"""The base model with an adapter on it that is to be trained: LoRA, QLoRA or DoRA, by PEFT.

Owns how a recipe's method becomes a model in memory, and what its training writes to disk. Does not train.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from fine_tune_assets.core.extras import extra_for
from fine_tune_assets.engines.transformers_models import best_device, load_model
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.checkpoints import CHECKPOINT_COPIES
from fine_tune_assets.training.failures import TrainingError


def adapted_model(base_folder: Path, settings: TrainingSettings, layers: int | None = None) -> Any:
    """The base model with an adapter that changes nothing yet; only its first `layers`, if a number is given."""
    is_quantized = settings.method == "qlora"
    model: Any = load_model(base_folder, is_quantized, is_sharded=settings.sharding == "fsdp2", layers=layers)
    if is_quantized:
        keep_weights_differentiable(model)
        freeze(model)
    try:
        return get_peft_model(model, lora_config(settings))
    except ValueError:
        named = ", ".join(settings.target_modules)
        raise TrainingError(f"The base model has none of training.target_modules: {named}.") from None


def lora_config(settings: TrainingSettings) -> LoraConfig:
    return LoraConfig(**lora_options(settings), use_dora=settings.method == "dora", task_type="CAUSAL_LM")


def lora_options(settings: TrainingSettings) -> dict[str, Any]:
    """In PEFT's names, which Unsloth has too."""
    modules = settings.target_modules
    return {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": modules if isinstance(modules, str) else list(modules),
        "bias": "none",
    }


def freeze(model: Any) -> None:
    """Nothing of the base learns; its norms compute in 32 bits.

    PEFT's `prepare_model_for_kbit_training` turns embeddings and output layer into 32 bits as well: 2.1 GB of an 8B model and
    4.2 GB of a 70B one, for products that are computed in 16 bits all the same.
    """
    for parameter in model.parameters():
        parameter.requires_grad = False
        if parameter.ndim == 1 and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.to(torch.float32)


def keep_weights_differentiable(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights when the model is first evaluated on a CPU with AVX-512 BF16.

    The repacked ones stay for training, and their multiplication has no derivative (bitsandbytes 0.50): the layers below would
    learn nothing, and only a warning would tell.
    """
    with extra_for("QLoRA"):
        from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def uses_checkpointing(settings: TrainingSettings) -> bool:
    return settings.computes_again(best_device() == "cuda")


def disk_bytes(model: Any) -> int:
    """Most that checkpoints and the adapter take at once: weights, and two numbers of AdamW for each."""
    return adapter_bytes(model) * CHECKPOINT_COPIES


def adapter_bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
