"""What a training is made of: its rows, its batches, TRL's configuration, and the trainer that holds them.

Owns getting ready, and the proofs before anything is learned: no row is lost, packed rows don't see each other, and the first
validation loss is a number. Does not train.
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
from fine_tune_assets.training.checkpoints import Checkpoint, Checkpoints
from fine_tune_assets.training.failures import TrainingError, require_number
from fine_tune_assets.training.lora import ranks
from fine_tune_assets.training.lora.adapters import uses_checkpointing
from fine_tune_assets.training.lora.batches import (
    Batching,
    FilledSteps,
    LengthBatches,
    attention_share,
    choose_batching,
    evaluation_rows,
    evaluation_steps,
    pack,
    share_out,
)
from fine_tune_assets.training.lora.ranks import several_ranks
from fine_tune_assets.training.lora.sft import RanksTrainer, ResumableTrainer, Schedule, with_blank_row
from fine_tune_assets.training.lora.training_engines import engine_of
from fine_tune_assets.training.supervision.isolation import require_isolation
from fine_tune_assets.training.supervision.loss_mask import (
    IGNORED,
    SupervisedRow,
    SupervisedRows,
    require_rows_fit,
    supervise_all,
)
from fine_tune_assets.training.tracking.training_progress import Telling

NEVER = 10**9
"""Steps between what `Schedule` decides instead."""


@dataclass(frozen=True)
class Rows:
    train: SupervisedRows
    validation: SupervisedRows


def prepare_rows(table: pa.Table, tokenizer: Any, stops: set[int], settings: TrainingSettings) -> Rows:
    """The supervised rows of an instruction set. Raises TrainingError."""
    return Rows(*(_rows_of(table, split, tokenizer, stops, settings) for split in ("train", "validation")))


def _rows_of(
    table: pa.Table, split: str, tokenizer: Any, stops: set[int], settings: TrainingSettings
) -> SupervisedRows:
    chosen = table.filter(pc.equal(table.column("split"), split))
    pairs = zip(*(chosen.column(name).to_pylist() for name in ("example_id", "messages")), strict=True)
    rows = supervise_all(tokenizer, pairs, settings.max_length, stops)
    require_rows_fit(rows.too_long, settings.too_long, settings.max_length)
    if not rows.kept:
        raise TrainingError(
            f"The {split} split has no example of at most {settings.max_length} tokens ({len(rows.too_long)} are longer). "
            "Raise training.max_length in the recipe or add examples."
        )
    return rows


def make_trainer(
    model: Any,
    tokenizer: Any,
    rows: Rows,
    settings: TrainingSettings,
    checkpoints: Checkpoints,
    last: Checkpoint | None,
    telling: Telling,
) -> ResumableTrainer:
    lengths = [len(row.input_ids) for row in rows.train.kept]
    apart = _dataset(rows.train.kept)
    packed = pack(apart, settings.max_length)
    batching = _batching(model, settings, lengths, packed)
    dataset = packed if batching.strategy == "bfd" else apart
    row_lengths = [len(ids) for ids in dataset["input_ids"]]
    order: LengthBatches | FilledSteps = LengthBatches(row_lengths, batching.rows_per_step, settings.seed)
    steps_per_epoch = -(-len(row_lengths) // batching.rows_per_step)
    evaluations = evaluation_steps(steps_per_epoch, settings.epochs, settings.evaluations_per_epoch)
    validation, several = _dataset(rows.validation.kept), ranks.count() > 1
    read = evaluation_rows(
        batching, settings.batch_size, [len(row.input_ids) for row in rows.validation.kept], settings.max_length
    )

    def prove(trainer: ResumableTrainer) -> None:
        """What is measured before anything is learned."""
        if batching.strategy == "bfd":
            require_isolation(trainer.model, max(packed, key=lambda row: len(row["seq_lengths"])))
        _first_validation(trainer, checkpoints)

    if several:
        shared = share_out(batching, ranks.count())
        order = FilledSteps(order, batching.rows_per_step, shared.rows_per_pass * ranks.count(), len(dataset))
        dataset, validation = (with_blank_row(d, tokenizer.eos_token_id) for d in (dataset, validation))
        kind: Any = partial(RanksTrainer, eval_rows=read, on_prepared=prove)
    else:
        shared, kind = batching, ResumableTrainer
    schedule = Schedule(order, evaluations, steps_per_epoch, settings.checkpoint_minutes)
    patience = settings.early_stopping_patience
    trainer: ResumableTrainer = kind(
        model=model,
        args=_config(settings, shared, read, steps_per_epoch, checkpoints.folder),
        train_dataset=dataset,
        eval_dataset=validation,
        processing_class=tokenizer,
        callbacks=[telling, schedule, *([EarlyStoppingCallback(patience)] if patience else [])],
        order=order,
        checkpoints=checkpoints,
        seconds=last.seconds if last else 0.0,
    )
    trainer.remove_callback(PrinterCallback)  # Telling says it in one line
    engine_of(settings).settle(trainer, settings, batching)
    _require_all_rows(trainer, rows.train)
    if not several:
        prove(trainer)
    return trainer


def _batching(model: Any, settings: TrainingSettings, lengths: Sequence[int], packed: Dataset) -> Batching:
    config = model.config.get_text_config()
    # The base model's alone, as the plan counts them: near the limit the two would choose another way.
    parameters = model.get_base_model().num_parameters() - sum(p.numel() for p in model.parameters() if p.requires_grad)
    share = attention_share(config.hidden_size, config.num_hidden_layers, parameters)
    tokens = [len(ids) for ids in packed["input_ids"]]
    packing = settings.packing if engine_of(settings).packs else "never"
    return choose_batching(packing, lengths, tokens, settings.batch_size, settings.gradient_accumulation, share)


def _config(
    settings: TrainingSettings, batching: Batching, read_rows: int, steps_per_epoch: int, folder: Path
) -> SFTConfig:
    on_gpu = best_device() == "cuda"
    packs = batching.strategy == "bfd"
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=batching.rows_per_pass,
        per_device_eval_batch_size=-(-read_rows // ranks.count()),
        gradient_accumulation_steps=batching.passes_per_step,
        gradient_checkpointing=uses_checkpointing(settings),
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",  # what TRL takes by itself
        warmup_steps=round(steps_per_epoch * settings.epochs * settings.warmup_fraction),
        lr_scheduler_type="cosine",
        # Rows are packed and measured already, and nothing may be cut.
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        padding_free=packs,
        logging_steps=1,
        # Its default shows the mean of before in place of a loss that is no number.
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
        **(several_ranks(settings.sharding == "fsdp2", on_gpu) if ranks.count() > 1 else {}),
    )


def _dataset(rows: Sequence[SupervisedRow]) -> Dataset:
    return Dataset.from_dict({"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]})


def _require_all_rows(trainer: ResumableTrainer, train: SupervisedRows) -> None:
    """Rows in = rows trained: nothing may be dropped or cut on the way into the trainer."""
    prepared: Any = trainer.train_dataset
    count = sum(len(lengths) for lengths in prepared["seq_lengths"]) if is_packed(trainer) else len(prepared)
    count -= trainer.blank_rows
    supervised = sum(label != IGNORED for labels in prepared["labels"] for label in labels)
    wanted = sum(row.supervised for row in train.kept)
    if count != len(train.kept) or supervised != wanted:
        raise TrainingError(
            f"The trainer prepared {count} of {len(train.kept)} rows and {supervised} of {wanted} supervised tokens."
        )


def is_packed(trainer: ResumableTrainer) -> bool:
    prepared: Any = trainer.train_dataset
    return "seq_lengths" in prepared.column_names


def _first_validation(trainer: ResumableTrainer, checkpoints: Checkpoints) -> None:
    """Loss before the first step; of a training that goes on, it was measured then."""
    if "first_validation_loss" not in checkpoints.start:
        measured = trainer.measure_validation_loss()
        require_number(measured, 0)
        if ranks.is_first():
            checkpoints.keep_start({"first_validation_loss": measured})
