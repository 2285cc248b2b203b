"""LoRA, QLoRA and DoRA training with TRL's SFTTrainer and PEFT.

Owns one training, from an instruction set and a base model to an adapter folder named by its fingerprint; `preparation` owns what
it is made of. Killed and started again with the same arguments it goes on from its last checkpoint and ends with the same
weights. Does not know why it was started or what becomes of the adapter.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers.trainer_utils import set_seed

from fine_tune_assets.core.fingerprints import fingerprint_json, fingerprint_table, short
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.prompt_contract import generation_stops
from fine_tune_assets.engines.transformers_models import best_device, load_tokenizer, use_threads
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.checkpoints import TRAINER, Checkpoints
from fine_tune_assets.training.failures import TrainingError, explained, require_room
from fine_tune_assets.training.lora import ranks
from fine_tune_assets.training.lora.adapters import WEIGHTS, adapter_bytes, disk_bytes, holds_weights_of, store_adapter
from fine_tune_assets.training.lora.change_probe import divergence_from_base
from fine_tune_assets.training.lora.preparation import is_packed, make_trainer, prepare_rows
from fine_tune_assets.training.lora.ranks import adapter_weights
from fine_tune_assets.training.lora.sft import ResumableTrainer
from fine_tune_assets.training.lora.training_engines import engine_of
from fine_tune_assets.training.supervision.training_templates import templates_version
from fine_tune_assets.training.tracking.tensorboard_files import EventFiles
from fine_tune_assets.training.tracking.training_progress import Telling, curve_of, peak_memory_bytes


@dataclass(frozen=True)
class TrainingResult:
    adapter_id: str
    folder: Path
    curve: tuple[dict[str, float], ...]
    """Logged points: `step`, and `loss` or `eval_loss`."""
    rows_trained: int
    rows_too_long: tuple[str, ...]
    supervised_tokens: int
    steps: int
    stopped_early: bool
    resumed_from_step: int | None
    """Of the last attempt; None if it was one go."""
    packing: str
    """`bfd` or `never`."""
    first_train_loss: float
    last_train_loss: float
    first_validation_loss: float
    best_validation_loss: float
    base_divergence: float
    """How far the adapter is from the base model, in nats a token of answers that it did not learn from. Measured on the model
    in memory, whose weights the stored ones equal bit by bit: `store_adapter` reads them back."""
    seconds: float
    """Over all attempts, up to the checkpoint that each went on from."""
    tokens_per_second: float
    peak_memory_bytes: int


def train_adapter(
    instruction_set: pa.Table,
    base_folder: Path,
    base_fingerprint: str,
    adapters_dir: Path,
    checkpoints_dir: Path,
    settings: TrainingSettings,
    threads: int,
    progress: Progress,
    tensorboard_dir: Path | None = None,
) -> TrainingResult:
    """Train and store one adapter. Raises TrainingError; nothing is left under a final name then."""
    use_threads(threads)
    tokenizer = load_tokenizer(base_folder)
    stops = {tokenizer.eos_token_id, *generation_stops(base_folder)}
    rows = prepare_rows(instruction_set, tokenizer, stops, settings)
    key = training_key(instruction_set, base_fingerprint, settings)
    checkpoints = ranks.first_before_others(lambda: Checkpoints(checkpoints_dir, key))
    with explained(checkpoints.folder, adapters_dir):
        # The adapter's first weights are by chance: the same ones at every start.
        set_seed(settings.seed)
        model = engine_of(settings).adapted_model(base_folder, settings)
        require_room(checkpoints.folder, disk_bytes(model))
        require_room(adapters_dir, adapter_bytes(model))
        last = ranks.first_before_others(checkpoints.latest)
        events = EventFiles(tensorboard_dir, checkpoints, telling := Telling(progress))
        trainer = make_trainer(model, tokenizer, rows, settings, checkpoints, last, telling)
        trainer.add_callback(events)
        set_seed(ranks.own_seed(settings.seed))
        trainer.train(resume_from_checkpoint=str(last.folder) if last else None)
        weights = adapter_weights(trainer.model)
        _require_best_is_loaded(trainer, checkpoints, weights)
        first = float(checkpoints.start["first_validation_loss"])
        best = _best(trainer, first)
        divergence = divergence_from_base(trainer.model, rows.validation.kept)
        ranks.wait_for_all()
        adapter_id, folder = "", adapters_dir
        if ranks.is_first():  # only its result is used
            adapter_id, folder = store_adapter(trainer.model, adapters_dir, base_fingerprint, weights)
            params = {**asdict(settings), "base_fingerprint": base_fingerprint}
            events.finish(adapter_id, params, {"best_validation_loss": best, "base_divergence": divergence})
            checkpoints.remove()
    return TrainingResult(
        adapter_id=adapter_id,
        folder=folder,
        curve=({"step": 0.0, "eval_loss": first}, *curve_of(trainer.state.log_history)),
        rows_trained=len(rows.train.kept),
        rows_too_long=rows.train.too_long + rows.validation.too_long,
        supervised_tokens=sum(row.supervised for row in rows.train.kept),
        steps=trainer.state.global_step,
        stopped_early=trainer.state.global_step < trainer.state.max_steps,
        resumed_from_step=last.step if last else None,
        packing="bfd" if is_packed(trainer) else "never",
        **_train_losses(trainer),
        first_validation_loss=first,
        best_validation_loss=best,
        base_divergence=divergence,
        seconds=trainer.seconds,
        tokens_per_second=telling.tokens_per_second,
        peak_memory_bytes=peak_memory_bytes(),
    )


def training_key(instruction_set: pa.Table, base_fingerprint: str, settings: TrainingSettings) -> str:
    """Name of all that decides the weights."""
    decides = {name: value for name, value in asdict(settings).items() if name != "checkpoint_minutes"}
    parts = [TRAINER, templates_version(), fingerprint_table(instruction_set), base_fingerprint, decides, best_device()]
    return short(fingerprint_json(parts))


def _train_losses(trainer: ResumableTrainer) -> dict[str, float]:
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return {"first_train_loss": _mean(losses[:3]), "last_train_loss": _mean(losses[-3:])}


def _best(trainer: ResumableTrainer, first_validation: float) -> float:
    if trainer.state.best_metric is None:
        raise TrainingError("The validation loss was never measured: nothing says which checkpoint is the best.")
    return min(first_validation, float(trainer.state.best_metric))


def _require_best_is_loaded(trainer: ResumableTrainer, checkpoints: Checkpoints, weights: dict[str, Any]) -> None:
    """transformers only warns when it can't find the best checkpoint, and goes on with the last weights."""
    best = checkpoints.of_step(int(trainer.state.best_global_step or 0))
    if not (best / WEIGHTS).is_file():
        raise TrainingError(f"The checkpoint with the lowest validation loss is gone: {best.name}.")
    if not holds_weights_of(best, trainer.model, weights):
        raise TrainingError("The weights in memory are not those of the checkpoint with the lowest validation loss.")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
