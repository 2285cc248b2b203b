"""Unsloth: the same training with kernels of its own, for one GPU. The only module that imports it.

Owns its import, loading a base model with it, and the proofs that it trains what the recipe says: Unsloth goes on with something
else where something is not to be had, and says so in a line of its output. Written for the versions in constraints-unsloth.txt.
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
from fine_tune_assets.training.base_models.facts import read_facts
from fine_tune_assets.training.environments import MISSING
from fine_tune_assets.training.failures import TrainingError

PATCHED = ("trl", "transformers", "peft")
"""What Unsloth changes while it is imported, and can't change any more once somebody else has imported it."""
GENERATED = "unsloth_compiled_cache"
CANNOT_START = (
    "Unsloth can't start here ({kind}). It needs a GPU that torch sees, its driver, and the versions of constraints-unsloth.txt: "
    "look at torch.cuda.is_available() in its environment, run `make setup-unsloth` again, or set training.engine: trl in the "
    "recipe."
)


def import_unsloth() -> None:
    """Raises TrainingError if it is not installed, can't start on this machine, or comes too late."""
    if "unsloth" in sys.modules:
        return
    early = [name for name in PATCHED if name in sys.modules]
    if early:
        raise TrainingError(f"Unsloth must be imported before {', '.join(early)}: it would change nothing of them.")
    if find_spec("unsloth") is None:
        raise TrainingError(MISSING.format(python=sys.executable, what="unsloth"))
    _write_generated_code_aside()
    try:
        import unsloth  # noqa: F401
    # Whatever it is: Unsloth raises NotImplementedError, RuntimeError and ImportError for want of a GPU or of a version.
    except Exception as error:
        raise TrainingError(CANNOT_START.format(kind=type(error).__name__)) from error


def _write_generated_code_aside() -> None:
    """Unsloth writes Python files and imports them again: not into the checkout, and where nobody else can write."""
    folder = tempfile.mkdtemp(prefix="unsloth-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["UNSLOTH_COMPILE_LOCATION"] = str(Path(folder) / GENERATED)


class UnslothEngine:
    packs = False
    """On a GPU it tells examples apart by lengths of its own and not by their positions; without one it lets them see each other
    (2026.10): docs/decisions/0024."""

    def adapted_model(self, base_folder: Path, settings: TrainingSettings) -> Any:
        from unsloth import FastLanguageModel

        from fine_tune_assets.training.lora.adapters import lora_options, uses_checkpointing

        require_positions(base_folder, settings.max_length)
        checkpointing = "unsloth" if uses_checkpointing(settings) else False
        model = self._load(base_folder, settings, checkpointing)
        try:
            adapted: Any = FastLanguageModel.get_peft_model(
                model,
                **lora_options(settings),
                use_gradient_checkpointing=checkpointing,
                random_state=settings.seed,
            )
        except ValueError:
            raise TrainingError(
                f"Unsloth can't adapt training.target_modules: {settings.target_modules} of this base model."
            ) from None
        for config in adapted.peft_config.values():
            config.auto_mapping = None  # names its own classes; the task says all that PEFT needs
        return adapted

    def _load(self, base_folder: Path, settings: TrainingSettings, checkpointing: str | bool) -> Any:
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
            # Otherwise it may load another model, from a hub, that it takes for the same.
            use_exact_model_name=True,
            fix_tokenizer=False,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
        )
        require_quantized(model, is_quantized)
        return model

    def settle(self, trainer: Any, settings: TrainingSettings, batching: Any) -> None:
        require_as_asked(
            trainer.args,
            {
                "learning_rate": settings.learning_rate,
                "weight_decay": settings.weight_decay,
                "num_train_epochs": settings.epochs,
                "per_device_train_batch_size": batching.rows_per_pass,
                "gradient_accumulation_steps": batching.passes_per_step,
                "lr_scheduler_type": "cosine",
                "optim": "adamw_torch_fused",  # Unsloth would take one of 8 bits
                "max_grad_norm": 1.0,
                "seed": settings.seed,
                "packing": False,
                "padding_free": False,
            },
        )


def require_as_asked(arguments: Any, asked: Mapping[str, Any]) -> None:
    """Raise TrainingError if what decides the weights was changed on the way. `arguments`: of the trainer."""
    changed = [name for name, value in asked.items() if getattr(arguments, name) != value]
    if changed:
        raise TrainingError(
            f"Unsloth trains with another {', '.join(changed)} than was asked. Set training.engine: trl."
        )


def require_positions(base_folder: Path, max_length: int) -> None:
    """Raise TrainingError if rows may be longer than the model's context: Unsloth would stretch its positions, and train another
    model than the one that is served."""
    context = read_facts(base_folder).context_tokens
    if context is not None and max_length > context:
        raise TrainingError(
            f"training.max_length is {max_length}, and the base model's context has {context} tokens. Lower it."
        )


def require_quantized(model: Any, is_quantized: bool) -> None:
    """Raise TrainingError unless the base is in 4 bits exactly if that was asked: Unsloth loads 16 bits where 4 fail."""
    from bitsandbytes.nn import Linear4bit

    if any(isinstance(module, Linear4bit) for module in model.modules()) != is_quantized:
        asked, held = ("4", "16") if is_quantized else ("16", "4")
        raise TrainingError(f"Unsloth loaded the base model in {held} bits, not in {asked}. Set training.engine: trl.")
