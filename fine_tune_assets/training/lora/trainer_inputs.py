"""Prepares a training: rows, batches, TRL's configuration and the trainer.

Before training, verifies that no row is lost, that examples in packed rows do not attend to each other, and that the initial
validation loss is finite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from transformers import EarlyStoppingCallback, PrinterCallback
from trl import SFTConfig

from fine_tune_assets.engines.transformers_models import best_device
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.checkpoints import Checkpoint, CheckpointStore
from fine_tune_assets.training.failures import TrainingError, require_finite
from fine_tune_assets.training.lora import distributed_state as ranks
from fine_tune_assets.training.lora.batch_order import (
    Batching,
    LengthSampler,
    PaddedStepSampler,
    attention_share,
    choose_batching,
    distribute_batching,
    evaluation_batch_size,
    evaluation_steps,
    pack_rows,
)
from fine_tune_assets.training.lora.distributed_state import distributed_arguments
from fine_tune_assets.training.lora.peft_adapters import has_gradient_checkpointing
from fine_tune_assets.training.lora.sft import DistributedTrainer, ResumableTrainer, ScheduleCallback, add_blank_row
from fine_tune_assets.training.lora.training_engines import select_engine
from fine_tune_assets.training.supervision.loss_mask import (
    IGNORE_INDEX,
    SupervisedRow,
    SupervisedRows,
    require_rows_fit,
    supervise_rows,
)
from fine_tune_assets.training.supervision.packing_isolation import require_isolation
from fine_tune_assets.training.tracking.training_progress import ProgressCallback

NEVER = 10**9
"""Interval in steps that is never reached; `ScheduleCallback` decides instead."""


@dataclass(frozen=True)
class TrainingRows:
    train: SupervisedRows
    validation: SupervisedRows


def prepare_rows(table: pa.Table, tokenizer: Any, stops: set[int], settings: TrainingSettings) -> TrainingRows:
    """The supervised rows of an instruction set. Raises TrainingError."""
    return TrainingRows(*(_split_rows(table, split, tokenizer, stops, settings) for split in ("train", "validation")))


def _split_rows(
    table: pa.Table, split: str, tokenizer: Any, stops: set[int], settings: TrainingSettings
) -> SupervisedRows:
    chosen = table.filter(pc.equal(table.column("split"), split))
    pairs = zip(*(chosen.column(name).to_pylist() for name in ("example_id", "messages")), strict=True)
    rows = supervise_rows(tokenizer, pairs, settings.max_length, stops)
    require_rows_fit(rows.too_long, settings.overlong_examples, settings.max_length)
    if not rows.fitting:
        raise TrainingError(
            f"The {split} split has no example of at most {settings.max_length} tokens; {len(rows.too_long)} are longer. "
            "Raise training.max_length in the recipe, or add examples."
        )
    return rows


def make_trainer(
    model: Any,
    tokenizer: Any,
    rows: TrainingRows,
    settings: TrainingSettings,
    checkpoints: CheckpointStore,
    checkpoint: Checkpoint | None,
    progress_callback: ProgressCallback,
) -> ResumableTrainer:
    lengths = [len(row.input_ids) for row in rows.train.fitting]
    unpacked = _make_dataset(rows.train.fitting)
    packed = pack_rows(unpacked, settings.max_length)
    batching = _choose_batching(model, settings, lengths, packed)
    dataset = packed if batching.strategy == "bfd" else unpacked
    row_lengths = [len(ids) for ids in dataset["input_ids"]]
    order: LengthSampler | PaddedStepSampler = LengthSampler(row_lengths, batching.rows_per_step, settings.seed)
    steps_per_epoch = -(-len(row_lengths) // batching.rows_per_step)
    evaluations = evaluation_steps(steps_per_epoch, settings.epochs, settings.evaluations_per_epoch)
    validation, is_distributed = _make_dataset(rows.validation.fitting), ranks.world_size() > 1
    eval_rows = evaluation_batch_size(
        batching, settings.batch_size, [len(row.input_ids) for row in rows.validation.fitting], settings.max_length
    )

    def check_before_training(trainer: ResumableTrainer) -> None:
        """Checks and measurements before the first step."""
        if batching.strategy == "bfd":
            require_isolation(trainer.model, max(packed, key=lambda row: len(row["seq_lengths"])))
        _measure_initial_loss(trainer, checkpoints)

    if is_distributed:
        shared = distribute_batching(batching, ranks.world_size())
        order = PaddedStepSampler(
            order, batching.rows_per_step, shared.rows_per_pass * ranks.world_size(), len(dataset)
        )
        dataset, validation = (add_blank_row(d, tokenizer.eos_token_id) for d in (dataset, validation))
        kind: Any = partial(DistributedTrainer, eval_pass_rows=eval_rows, on_prepared=check_before_training)
    else:
        shared, kind = batching, ResumableTrainer
    schedule = ScheduleCallback(order, evaluations, steps_per_epoch, settings.checkpoint_minutes)
    patience = settings.early_stopping_patience
    trainer: ResumableTrainer = kind(
        model=model,
        args=_sft_config(settings, shared, eval_rows, steps_per_epoch, checkpoints.folder),
        train_dataset=dataset,
        eval_dataset=validation,
        processing_class=tokenizer,
        callbacks=[progress_callback, schedule, *([EarlyStoppingCallback(patience)] if patience else [])],
        order=order,
        checkpoints=checkpoints,
        elapsed_seconds=checkpoint.seconds if checkpoint else 0.0,
    )
    trainer.remove_callback(PrinterCallback)  # ProgressCallback reports in one line
    select_engine(settings).finish_trainer(trainer, settings, batching)
    _require_all_rows(trainer, rows.train)
    if not is_distributed:
        check_before_training(trainer)
    return trainer


def _choose_batching(model: Any, settings: TrainingSettings, lengths: Sequence[int], packed: Dataset) -> Batching:
    config = model.config.get_text_config()
    # Parameters of the base model only, as in the plan: near the threshold, the choices would differ otherwise.
    parameters = model.get_base_model().num_parameters() - sum(p.numel() for p in model.parameters() if p.requires_grad)
    share = attention_share(config.hidden_size, config.num_hidden_layers, parameters)
    tokens = [len(ids) for ids in packed["input_ids"]]
    packing = settings.packing if select_engine(settings).can_pack else "never"
    return choose_batching(packing, lengths, tokens, settings.batch_size, settings.gradient_accumulation, share)


def _sft_config(
    settings: TrainingSettings, batching: Batching, eval_rows: int, steps_per_epoch: int, folder: Path
) -> SFTConfig:
    on_gpu = best_device() == "cuda"
    packs = batching.strategy == "bfd"
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=batching.rows_per_pass,
        per_device_eval_batch_size=-(-eval_rows // ranks.world_size()),
        gradient_accumulation_steps=batching.passes_per_step,
        gradient_checkpointing=has_gradient_checkpointing(settings),
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",  # TRL's default
        warmup_steps=round(steps_per_epoch * settings.epochs * settings.warmup_fraction),
        lr_scheduler_type="cosine",
        # Rows are already packed and checked; nothing may be truncated.
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        padding_free=packs,
        logging_steps=1,
        # The default hides a loss that is NaN by showing the previous mean.
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=NEVER,
        save_strategy="steps",
        save_steps=NEVER,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        restore_callback_states_from_checkpoint=True,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        seed=settings.seed,
        data_seed=settings.seed,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=on_gpu,
        **(distributed_arguments(settings.sharding == "fsdp2", on_gpu) if ranks.world_size() > 1 else {}),
    )


def _make_dataset(rows: Sequence[SupervisedRow]) -> Dataset:
    return Dataset.from_dict({"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]})


def _require_all_rows(trainer: ResumableTrainer, train: SupervisedRows) -> None:
    """Verify that TRL neither dropped nor truncated a row."""
    prepared: Any = trainer.train_dataset
    count = sum(len(lengths) for lengths in prepared["seq_lengths"]) if is_packed(trainer) else len(prepared)
    count -= trainer.blank_rows
    supervised = sum(label != IGNORE_INDEX for labels in prepared["labels"] for label in labels)
    expected = sum(row.supervised_tokens for row in train.fitting)
    if count != len(train.fitting) or supervised != expected:
        raise TrainingError(
            f"The trainer prepared {count} of {len(train.fitting)} rows and {supervised} of {expected} supervised tokens."
        )


def is_packed(trainer: ResumableTrainer) -> bool:
    prepared: Any = trainer.train_dataset
    return "seq_lengths" in prepared.column_names


def _measure_initial_loss(trainer: ResumableTrainer, checkpoints: CheckpointStore) -> None:
    """Measure the loss before the first step; a resumed training keeps the first measurement."""
    if "first_validation_loss" not in checkpoints.start_metrics:
        measured = trainer.measure_validation_loss()
        require_finite(measured, 0)
        if ranks.is_main_process():
            checkpoints.save_start_metrics({"first_validation_loss": measured})
