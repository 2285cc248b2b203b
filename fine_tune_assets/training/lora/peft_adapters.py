"""Creates trainable adapters (LoRA, QLoRA or DoRA with PEFT) and stores adapter folders."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from fine_tune_assets.core.extras import require_extra
from fine_tune_assets.core.files import atomic_folder, make_folder
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.engines.nf4 import QUANTIZATION_FILE, detect_quantization
from fine_tune_assets.engines.transformers_models import best_device, load_model
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.checkpoints import CHECKPOINT_COPIES
from fine_tune_assets.training.failures import TrainingError


def load_trainable_model(base_folder: Path, settings: TrainingSettings) -> Any:
    """The base model with a new adapter that has no effect yet."""
    is_quantized = settings.method == "qlora"
    model: Any = load_model(base_folder, is_quantized, is_sharded=settings.sharding == "fsdp2")
    if is_quantized:
        disable_cpu_repacking(model)
        freeze_base(model)
    try:
        return get_peft_model(model, lora_config(settings))
    except ValueError:
        modules = settings.target_modules
        names = modules if isinstance(modules, str) else ", ".join(modules)
        raise TrainingError(f"No module of the base model matches training.target_modules ({names}).") from None


def lora_config(settings: TrainingSettings) -> LoraConfig:
    return LoraConfig(**lora_options(settings), use_dora=settings.method == "dora", task_type="CAUSAL_LM")


def lora_options(settings: TrainingSettings) -> dict[str, Any]:
    """Options in the names that PEFT and Unsloth share."""
    modules = settings.target_modules
    return {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "use_rslora": settings.rank_stabilized,
        "lora_dropout": settings.dropout,
        "target_modules": modules if isinstance(modules, str) else list(modules),
        "bias": "none",
    }


def freeze_base(model: Any) -> None:
    """Freeze the base model, with its norms and biases in 32 bits.

    PEFT's `prepare_model_for_kbit_training` also converts embeddings and output layer to 32 bits, which costs 2.1 GB for an 8B
    model and 4.2 GB for a 70B model, although the matrix products are computed in 16 bits.
    """
    for parameter in model.parameters():
        parameter.requires_grad = False
        if parameter.ndim == 1 and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.to(torch.float32)


def disable_cpu_repacking(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights at the first evaluation on a CPU with AVX-512 BF16.

    Repacked weights would stay during training, and their multiplication has no gradient (bitsandbytes 0.50): the layers below
    would not be trained, with only a warning.
    """
    with require_extra("QLoRA"):
        from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def has_gradient_checkpointing(settings: TrainingSettings) -> bool:
    return settings.recomputes_activations(best_device() == "cuda")


def max_disk_bytes(model: Any) -> int:
    """Maximum disk space of checkpoints and adapter: weights and two AdamW moments per checkpoint, and the stored adapter."""
    return adapter_bytes(model) * CHECKPOINT_COPIES


def adapter_bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_SCRATCH_PREFIX = ".adapter-"


def store_adapter(
    model: Any, adapters_dir: Path, base_fingerprint: str, weights: dict[str, Any] | None = None
) -> tuple[str, Path]:
    """Save a PEFT model's adapter under its fingerprint; returns fingerprint and folder.

    Raises TrainingError if the stored weights differ.

    `weights`: the full adapter weights by their names in the model, if the model is sharded.
    """
    remove_leftovers(adapters_dir)
    make_folder(adapters_dir)
    # On the final disk, where space was checked, so that the rename does not copy.
    with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=adapters_dir) as scratch:
        saved, canonical = Path(scratch) / "saved", Path(scratch) / "canonical"
        model.save_pretrained(saved, safe_serialization=True, state_dict=weights)
        canonical.mkdir()
        config = canonical_config(json.loads((saved / CONFIG_FILE).read_text(encoding="utf-8")), base_fingerprint)
        (canonical / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
        os.replace(saved / WEIGHTS_FILE, canonical / WEIGHTS_FILE)
        quantization = detect_quantization(model)
        if quantization is not None:  # merging needs the record to reproduce the base model
            (canonical / QUANTIZATION_FILE).write_text(quantization.as_json(), encoding="utf-8")
        # So that measurements of the model in memory also apply to the stored adapter.
        if not has_same_weights(canonical, model, weights):
            raise TrainingError("The stored weights differ from the trained and measured ones. Nothing was kept.")
        fingerprint = fingerprint_folder(canonical)
        folder = adapters_dir / short(fingerprint)
        with atomic_folder(folder) as temporary:
            for file in canonical.iterdir():
                os.replace(file, temporary / file.name)
    return fingerprint, folder


def has_same_weights(folder: Path, model: Any, weights: dict[str, Any] | None) -> bool:
    """Whether the stored weights equal the model's, bit for bit."""
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    stored, in_memory = load_file(folder / WEIGHTS_FILE), get_peft_model_state_dict(model, state_dict=weights)
    return stored.keys() == in_memory.keys() and all(
        torch.equal(stored[name], in_memory[name].cpu()) for name in stored
    )


def remove_leftovers(adapters_dir: Path) -> None:
    """Remove temporary adapter folders of killed trainings."""
    for leftover in (*adapters_dir.glob(f"{_SCRATCH_PREFIX}*"), *adapters_dir.glob(".*.tmp")):
        shutil.rmtree(leftover, ignore_errors=True)


def canonical_config(config: dict[str, Any], base_fingerprint: str) -> dict[str, Any]:
    """The configuration in a form that does not depend on where the adapter was trained."""
    modules = config["target_modules"]
    return {
        **{name: value for name, value in config.items() if name != "peft_version"},
        "target_modules": sorted(modules) if isinstance(modules, list) else modules,
        "base_model_name_or_path": base_fingerprint,
    }
