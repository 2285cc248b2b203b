"""Which library trains: TRL and PEFT by themselves, or with Unsloth beneath them.

Owns what differs between the two: how the base model with its adapter comes into memory, and what is done to a trainer once it
is built. Order of rows, labels, checkpoints and the adapter's folder are the same for both. Imports nothing heavy while it is
loaded: Unsloth has to come before TRL, transformers and PEFT.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from fine_tune_assets.recipes.schema import TrainingSettings

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
UNSLOTH_LIBRARIES = ("unsloth", "unsloth_zoo")


class TrainingEngine(Protocol):
    packs: bool
    """Whether it keeps the examples of a packed row apart."""

    def adapted_model(self, base_folder: Path, settings: TrainingSettings) -> Any:
        """A PEFT model: the base with an adapter that changes nothing yet. Raises TrainingError."""

    def settle(self, trainer: Any, settings: TrainingSettings, batching: Any) -> None:
        """Do what is left once the trainer is built. Raises TrainingError if it is not the one that was asked for."""


class TrlEngine:
    packs = True

    def adapted_model(self, base_folder: Path, settings: TrainingSettings) -> Any:
        from fine_tune_assets.training.lora.adapters import adapted_model

        return adapted_model(base_folder, settings)

    def settle(self, trainer: Any, settings: TrainingSettings, batching: Any) -> None:  # noqa: ARG002
        from fine_tune_assets.engines.transformers_models import best_device
        from fine_tune_assets.training.supervision.supervised_loss import score_learned_positions_only

        if best_device() == "cpu":
            score_learned_positions_only(trainer.model.get_base_model())


def engine_of(settings: TrainingSettings) -> TrainingEngine:
    if settings.engine == "unsloth":
        from fine_tune_assets.training.lora.unsloth_engine import UnslothEngine

        return UnslothEngine()
    return TrlEngine()


def prepare_engine(name: str) -> None:
    """Import what must come before TRL, transformers and PEFT. Raises TrainingError with what to do."""
    if name == "unsloth":
        from fine_tune_assets.training.lora.unsloth_engine import import_unsloth

        import_unsloth()


def library_versions(engine: str) -> dict[str, str]:
    """Of this environment, without importing them; what is not installed is left out."""
    found = {}
    for name in (*LIBRARIES, *(UNSLOTH_LIBRARIES if engine == "unsloth" else ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
