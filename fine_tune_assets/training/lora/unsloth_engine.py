"""Trains with Unsloth's kernels on one GPU. The only module that imports Unsloth.

Verifies that Unsloth trains what the recipe says: if something is unsupported, Unsloth uses a fallback and only prints a line.
Written for the versions in constraints-unsloth.txt.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.base_models.model_facts import read_model_facts
from fine_tune_assets.training.environments import NOT_INSTALLED
from fine_tune_assets.training.failures import TrainingError

PATCHED_LIBRARIES = ("trl", "transformers", "peft")
"""Libraries that Unsloth patches at import; once they are imported, it is too late."""
CACHE_NAME = "unsloth_compiled_cache"
CANNOT_START = (
    "Unsloth cannot start ({kind}). It needs a GPU visible to torch, a driver, and the versions of constraints-unsloth.txt: "
    "check torch.cuda.is_available() in its environment, run `make setup-unsloth` again, or set training.engine: trl in the "
    "recipe."
)


def import_unsloth() -> None:
    """Raises TrainingError if Unsloth is not installed, cannot start on this machine, or is imported too late."""
    if "unsloth" in sys.modules:
        return
    imported = [name for name in PATCHED_LIBRARIES if name in sys.modules]
    if imported:
        raise TrainingError(f"Unsloth must be imported before {', '.join(imported)}, otherwise it cannot patch them.")
    if find_spec("unsloth") is None:
        raise TrainingError(NOT_INSTALLED.format(python=sys.executable, what="unsloth"))
    _redirect_generated_code()
    try:
        import unsloth  # noqa: F401
    # Unsloth raises NotImplementedError, RuntimeError or ImportError without a GPU or with wrong versions.
    except Exception as error:
        raise TrainingError(CANNOT_START.format(kind=type(error).__name__)) from error


def _redirect_generated_code() -> None:
    """Unsloth imports Python files that it writes: keep them outside the checkout, in a folder only this user can write."""
    folder = tempfile.mkdtemp(prefix="unsloth-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["UNSLOTH_COMPILE_LOCATION"] = str(Path(folder) / CACHE_NAME)


class UnslothEngine:
    can_pack = False
    """On a GPU, Unsloth separates packed examples by its own lengths and ignores their positions; without a GPU, examples attend
    to each other (2026.10): docs/decisions/0012-training.md."""

    def load_model(self, base_folder: Path, settings: TrainingSettings) -> Any:
        from unsloth import FastLanguageModel

        from fine_tune_assets.training.lora.peft_adapters import has_gradient_checkpointing, lora_options

        require_context_fits(base_folder, settings.max_length)
        checkpointing = "unsloth" if has_gradient_checkpointing(settings) else False
        model = self._load_base(base_folder, settings, checkpointing)
        try:
            adapted: Any = FastLanguageModel.get_peft_model(
                model,
                **lora_options(settings),
                use_gradient_checkpointing=checkpointing,
                random_state=settings.seed,
            )
        except ValueError:
            raise TrainingError(
                f"Unsloth cannot adapt training.target_modules {settings.target_modules} in this base model."
            ) from None
        for config in adapted.peft_config.values():
            config.auto_mapping = None  # names Unsloth's classes; PEFT needs only the task type
        return adapted

    def _load_base(self, base_folder: Path, settings: TrainingSettings, checkpointing: str | bool) -> Any:
        """The base model: never from a hub, never remote code, Safetensors only, in the number format of the TRL engine."""
        import torch
        from unsloth import FastLanguageModel

        from fine_tune_assets.engines.transformers_models import best_device

        is_quantized = settings.method == "qlora"
        model, _ = FastLanguageModel.from_pretrained(
            model_name=str(base_folder),
            max_seq_length=settings.max_length,
            dtype=torch.bfloat16 if best_device() == "cuda" else torch.float32,
            load_in_4bit=is_quantized,
            load_in_16bit=not is_quantized,
            use_gradient_checkpointing=checkpointing,
            # Otherwise it may load a different model from a hub as an equivalent.
            use_exact_model_name=True,
            fix_tokenizer=False,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
        )
        require_quantized(model, is_quantized)
        return model

    def finish_trainer(self, trainer: Any, settings: TrainingSettings, batching: Any) -> None:
        require_same_arguments(
            trainer.args,
            {
                "learning_rate": settings.learning_rate,
                "weight_decay": settings.weight_decay,
                "num_train_epochs": settings.epochs,
                "per_device_train_batch_size": batching.rows_per_pass,
                "gradient_accumulation_steps": batching.passes_per_step,
                "lr_scheduler_type": "cosine",
                "optim": "adamw_torch_fused",  # Unsloth's default is an 8-bit optimizer
                "max_grad_norm": 1.0,
                "seed": settings.seed,
                "packing": False,
                "padding_free": False,
            },
        )


def require_same_arguments(arguments: Any, expected: Mapping[str, Any]) -> None:
    """Raise TrainingError if Unsloth changed arguments that determine the weights. `arguments`: the trainer's."""
    changed = [name for name, value in expected.items() if getattr(arguments, name) != value]
    if changed:
        raise TrainingError(
            f"Unsloth changed these training arguments: {', '.join(changed)}. Set training.engine: trl in the recipe."
        )


def require_context_fits(base_folder: Path, max_length: int) -> None:
    """Raise TrainingError if rows may exceed the model's context: Unsloth would scale its positions, so the trained model would
    differ from the served one."""
    context = read_model_facts(base_folder).context_tokens
    if context is not None and max_length > context:
        raise TrainingError(
            f"training.max_length is {max_length}, but the base model's context has {context} tokens. Lower it."
        )


def require_quantized(model: Any, is_quantized: bool) -> None:
    """Raise TrainingError unless the base is quantized as requested: Unsloth falls back to 16 bits if 4 bits fail."""
    from bitsandbytes.nn import Linear4bit

    if any(isinstance(module, Linear4bit) for module in model.modules()) != is_quantized:
        expected, loaded = ("4", "16") if is_quantized else ("16", "4")
        raise TrainingError(
            f"Unsloth loaded the base model in {loaded} bits instead of {expected}. Set training.engine: trl in the recipe."
        )
