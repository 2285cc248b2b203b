"""Selects the training library: TRL with PEFT, alone or accelerated by Unsloth.

The engines differ in how they load the base model with its adapter and in how they finish a trainer. Row order, labels,
checkpoints and the adapter's folder are the same. This module imports nothing heavy, because Unsloth must be imported before TRL,
transformers and PEFT.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from fine_tune_assets.recipes.schema import TrainingSettings

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
UNSLOTH_LIBRARIES = ("unsloth", "unsloth_zoo")


class TrainingEngine(Protocol):
    can_pack: bool
    """Whether examples in a packed row are isolated from each other."""

    def load_model(self, base_folder: Path, settings: TrainingSettings) -> Any:
        """A PEFT model: the base with a new adapter that has no effect yet. Raises TrainingError."""

    def finish_trainer(self, trainer: Any, settings: TrainingSettings, batching: Any) -> None:
        """Complete a new trainer. Raises TrainingError if the engine changed its arguments."""


class TrlEngine:
    can_pack = True

    def load_model(self, base_folder: Path, settings: TrainingSettings) -> Any:
        from fine_tune_assets.training.lora.peft_adapters import load_trainable_model

        return load_trainable_model(base_folder, settings)

    def finish_trainer(self, trainer: Any, settings: TrainingSettings, batching: Any) -> None:  # noqa: ARG002
        from fine_tune_assets.engines.transformers_models import best_device
        from fine_tune_assets.training.supervision.supervised_loss import score_supervised_only

        if best_device() == "cpu":
            score_supervised_only(trainer.model.get_base_model())


def select_engine(settings: TrainingSettings) -> TrainingEngine:
    if settings.engine == "unsloth":
        from fine_tune_assets.training.lora.unsloth_engine import UnslothEngine

        return UnslothEngine()
    return TrlEngine()


def prepare_engine(name: str) -> None:
    """Import what must precede TRL, transformers and PEFT. Raises TrainingError."""
    if name == "unsloth":
        from fine_tune_assets.training.lora.unsloth_engine import import_unsloth

        import_unsloth()


def library_versions(engine: str) -> dict[str, str]:
    """Installed versions in this environment, read without importing the libraries."""
    found = {}
    for name in (*LIBRARIES, *(UNSLOTH_LIBRARIES if engine == "unsloth" else ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
