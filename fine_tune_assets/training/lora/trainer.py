"""Trains LoRA, QLoRA and DoRA adapters with TRL's SFTTrainer and PEFT.

Runs one training, from an instruction set and a base model to an adapter folder named by its fingerprint; `trainer_inputs`
prepares the inputs. Restarted with the same arguments, a killed training resumes from its last checkpoint and ends with the same
weights.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers.trainer_utils import set_seed

from fine_tune_assets.core.fingerprints import fingerprint_json, fingerprint_table, short
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.prompt_contract import read_generation_stops
from fine_tune_assets.engines.transformers_models import best_device, load_tokenizer, set_threads
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.checkpoints import TRAINER_VERSION, CheckpointStore
from fine_tune_assets.training.failures import TrainingError, explain_errors, require_disk_space
from fine_tune_assets.training.lora import distributed_state as ranks
from fine_tune_assets.training.lora.adapter_divergence import divergence_from_base
from fine_tune_assets.training.lora.distributed_state import gather_adapter_weights
from fine_tune_assets.training.lora.peft_adapters import (
    WEIGHTS_FILE,
    adapter_bytes,
    has_same_weights,
    max_disk_bytes,
    store_adapter,
)
from fine_tune_assets.training.lora.sft import ResumableTrainer
from fine_tune_assets.training.lora.trainer_inputs import is_packed, make_trainer, prepare_rows
from fine_tune_assets.training.lora.training_engines import select_engine
from fine_tune_assets.training.tracking.training_progress import ProgressCallback, extract_curve, peak_memory_bytes


@dataclass(frozen=True)
class TrainingResult:
    adapter_id: str
    folder: Path
    curve: tuple[dict[str, float], ...]
    """Logged points: `step`, and `loss` or `eval_loss`."""
    trained_row_count: int
    rows_too_long: tuple[str, ...]
    supervised_tokens: int
    steps: int
    stopped_early: bool
    resumed_from_step: int | None
    """The checkpoint's step, for the last attempt; None if the training was not interrupted."""
    packing: str
    """`bfd` or `never`."""
    first_train_loss: float
    last_train_loss: float
    first_validation_loss: float
    best_validation_loss: float
    base_kl_divergence: float
    """KL divergence from the base model in nats per token, on answers that were not trained on. Measured on the model in memory;
    `store_adapter` verifies that the stored weights are identical."""
    duration_seconds: float
    """Over all attempts, each up to the checkpoint from which the next one resumed."""
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
) -> TrainingResult:
    """Train and store one adapter. Raises TrainingError, in which case no adapter folder is created."""
    set_threads(threads)
    tokenizer = load_tokenizer(base_folder)
    stops = {tokenizer.eos_token_id, *read_generation_stops(base_folder)}
    rows = prepare_rows(instruction_set, tokenizer, stops, settings)
    key = training_key(instruction_set, base_fingerprint, settings)
    checkpoints = ranks.run_main_process_first(lambda: CheckpointStore(checkpoints_dir, key))
    with explain_errors(checkpoints.folder, adapters_dir):
        # The adapter's initial weights are random: the seed makes them the same at every start.
        set_seed(settings.seed)
        model = select_engine(settings).load_model(base_folder, settings)
        require_disk_space(checkpoints.folder, max_disk_bytes(model))
        require_disk_space(adapters_dir, adapter_bytes(model))
        last = ranks.run_main_process_first(checkpoints.latest)
        trainer = make_trainer(
            model, tokenizer, rows, settings, checkpoints, last, reporter := ProgressCallback(progress)
        )
        set_seed(ranks.rank_seed(settings.seed))
        trainer.train(resume_from_checkpoint=str(last.folder) if last else None)
        weights = gather_adapter_weights(trainer.model)
        _require_best_loaded(trainer, checkpoints, weights)
        first = float(checkpoints.start_metrics["first_validation_loss"])
        best = _best_loss(trainer, first)
        divergence = divergence_from_base(trainer.model, rows.validation.fitting)
        ranks.wait_for_everyone()
        adapter_id, folder = "", adapters_dir
        if ranks.is_main_process():  # only the main process's result is used
            adapter_id, folder = store_adapter(trainer.model, adapters_dir, base_fingerprint, weights)
            checkpoints.remove()
    return TrainingResult(
        adapter_id=adapter_id,
        folder=folder,
        curve=({"step": 0.0, "eval_loss": first}, *extract_curve(trainer.state.log_history)),
        trained_row_count=len(rows.train.fitting),
        rows_too_long=rows.train.too_long + rows.validation.too_long,
        supervised_tokens=sum(row.supervised_tokens for row in rows.train.fitting),
        steps=trainer.state.global_step,
        stopped_early=trainer.state.global_step < trainer.state.max_steps,
        resumed_from_step=last.step if last else None,
        packing="bfd" if is_packed(trainer) else "never",
        **_train_losses(trainer),
        first_validation_loss=first,
        best_validation_loss=best,
        base_kl_divergence=divergence,
        duration_seconds=trainer.elapsed_seconds,
        tokens_per_second=reporter.tokens_per_second,
        peak_memory_bytes=peak_memory_bytes(),
    )


def training_key(instruction_set: pa.Table, base_fingerprint: str, settings: TrainingSettings) -> str:
    """Hash of everything that determines the weights."""
    decides = {name: value for name, value in asdict(settings).items() if name != "checkpoint_minutes"}
    parts = [
        TRAINER_VERSION,
        fingerprint_table(instruction_set),
        base_fingerprint,
        decides,
        best_device(),
    ]
    return short(fingerprint_json(parts))


def _train_losses(trainer: ResumableTrainer) -> dict[str, float]:
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return {"first_train_loss": _mean(losses[:3]), "last_train_loss": _mean(losses[-3:])}


def _best_loss(trainer: ResumableTrainer, first_validation: float) -> float:
    if trainer.state.best_metric is None:
        raise TrainingError("The validation loss was never measured, so the best checkpoint is unknown.")
    return min(first_validation, float(trainer.state.best_metric))


def _require_best_loaded(trainer: ResumableTrainer, checkpoints: CheckpointStore, weights: dict[str, Any]) -> None:
    """transformers only warns if it does not find the best checkpoint, and continues with the last weights."""
    best = checkpoints.step_folder(int(trainer.state.best_global_step or 0))
    if not (best / WEIGHTS_FILE).is_file():
        raise TrainingError(f"{best.name}, the checkpoint with the lowest validation loss, is missing.")
    if not has_same_weights(best, trainer.model, weights):
        raise TrainingError(
            f"The weights in memory differ from {best.name}, the checkpoint with the lowest validation loss."
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
