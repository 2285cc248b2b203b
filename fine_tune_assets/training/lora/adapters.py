"""Adapters: the base model with one that is to be trained (LoRA, QLoRA or DoRA, by PEFT), and the folder that one is kept in."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from fine_tune_assets.core.extras import extra_for
from fine_tune_assets.core.files import folder_written_aside, make_folder
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.engines.nf4 import QUANTIZATION, quantization_of
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


CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_ASIDE = ".adapter-"


def store_adapter(
    model: Any, adapters_dir: Path, base_fingerprint: str, weights: dict[str, Any] | None = None
) -> tuple[str, Path]:
    """Save a PEFT model's adapter under its fingerprint; both are returned. Raises TrainingError if other weights were written.

    `weights`: the adapter's, by their names in the model, where the model itself holds only a part of each.
    """
    remove_left(adapters_dir)
    make_folder(adapters_dir)
    # On the disk of the final name: there room was asked for, and the rename needs no second copy.
    with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=adapters_dir) as scratch:
        saved, canonical = Path(scratch) / "saved", Path(scratch) / "canonical"
        model.save_pretrained(saved, safe_serialization=True, state_dict=weights)
        canonical.mkdir()
        config = canonical_config(json.loads((saved / CONFIG).read_text(encoding="utf-8")), base_fingerprint)
        (canonical / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
        os.replace(saved / WEIGHTS, canonical / WEIGHTS)
        quantization = quantization_of(model)
        if quantization is not None:  # it is merged into what it learned on: the record is a part of it
            (canonical / QUANTIZATION).write_text(quantization.as_json(), encoding="utf-8")
        # What was measured on the model is then true of what is stored.
        if not holds_weights_of(canonical, model, weights):
            raise TrainingError(
                "The weights that were written are not those that were trained and measured. Nothing was stored."
            )
        fingerprint = fingerprint_folder(canonical)
        folder = adapters_dir / short(fingerprint)
        with folder_written_aside(folder) as aside:
            for file in canonical.iterdir():
                os.replace(file, aside / file.name)
    return fingerprint, folder


def holds_weights_of(folder: Path, model: Any, weights: dict[str, Any] | None) -> bool:
    """Whether the weights in the folder are those that the model answers with, bit by bit."""
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    stored, held = load_file(folder / WEIGHTS), get_peft_model_state_dict(model, state_dict=weights)
    return stored.keys() == held.keys() and all(torch.equal(stored[name], held[name].cpu()) for name in stored)


def remove_left(adapters_dir: Path) -> None:
    """Remove what a training that was killed while it stored left beside the adapters."""
    for left in (*adapters_dir.glob(f"{_ASIDE}*"), *adapters_dir.glob(".*.tmp")):
        shutil.rmtree(left, ignore_errors=True)


def canonical_config(config: dict[str, Any], base_fingerprint: str) -> dict[str, Any]:
    """The same for the same adapter, wherever it was trained."""
    modules = config["target_modules"]
    return {
        **{name: value for name, value in config.items() if name != "peft_version"},
        "target_modules": sorted(modules) if isinstance(modules, list) else modules,
        "base_model_name_or_path": base_fingerprint,
    }
