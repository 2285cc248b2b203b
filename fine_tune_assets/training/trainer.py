"""LoRA, QLoRA and DoRA training with TRL's SFTTrainer and PEFT.

Owns one training, from an instruction set and a base model to an adapter folder named by its fingerprint. Killed and started
again with the same arguments it goes on from its last checkpoint and ends with the same weights. Does not know why it was
started or what becomes of the adapter.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from transformers import EarlyStoppingCallback, PrinterCallback
from transformers.trainer_utils import set_seed
from trl import SFTConfig

from fine_tune_assets.core.fingerprints import fingerprint_json, fingerprint_table, short
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompt_contract import generation_stops
from fine_tune_assets.engines.transformers_models import best_device, load_tokenizer, use_threads
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training import ranks
from fine_tune_assets.training.adapter_folder import WEIGHTS, store_adapter
from fine_tune_assets.training.adapting import disk_bytes, uses_checkpointing
from fine_tune_assets.training.batches import (
    Batching,
    FilledSteps,
    LengthBatches,
    attention_share,
    choose_batching,
    evaluation_steps,
    pack,
    share_out,
)
from fine_tune_assets.training.checkpoints import Checkpoint, Checkpoints
from fine_tune_assets.training.engines import OPTIMISER, engine_of
from fine_tune_assets.training.failures import TrainingError, explained, require_number, require_room
from fine_tune_assets.training.isolation import require_isolation
from fine_tune_assets.training.probing import divergence_from_base
from fine_tune_assets.training.sft import ResumableTrainer, Schedule
from fine_tune_assets.training.sft_on_ranks import RanksTrainer, with_blank_row
from fine_tune_assets.training.sharding import adapter_weights, several_ranks
from fine_tune_assets.training.supervision import SupervisedRow, SupervisedRows, require_rows_fit, supervise_all
from fine_tune_assets.training.telling import Telling, curve_of, peak_memory_bytes
from fine_tune_assets.training.tensorboard_files import EventFiles

TRAINER = 2
"""Raised when the same inputs train to other weights than before: a checkpoint of before is then not gone on from."""
NEVER = 10**9
"""Steps between what `Schedule` decides instead."""


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
    """How far the adapter is from the base model, in nats a token of answers that it did not learn from."""
    seconds: float
    """Over all attempts, up to the checkpoint that each went on from."""
    tokens_per_second: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class _Rows:
    train: SupervisedRows
    validation: SupervisedRows


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
    rows = _Rows(*(_rows(instruction_set, split, tokenizer, stops, settings) for split in ("train", "validation")))
    key = training_key(instruction_set, base_fingerprint, settings)
    checkpoints = ranks.first_before_others(lambda: Checkpoints(checkpoints_dir, key))
    with explained(checkpoints.folder):
        # The adapter's first weights are by chance: the same ones at every start.
        set_seed(settings.seed)
        model = engine_of(settings).adapted_model(base_folder, settings)
        require_room(checkpoints.folder, disk_bytes(model))
        last = ranks.first_before_others(checkpoints.latest)
        telling = Telling(progress)
        trainer = _make_trainer(model, tokenizer, rows, settings, checkpoints, last, telling)
        trainer.add_callback(events := EventFiles(tensorboard_dir, checkpoints, telling))
        set_seed(ranks.own_seed(settings.seed))
        trainer.train(resume_from_checkpoint=str(last.folder) if last else None)
        weights = adapter_weights(trainer.model)
        _require_best_is_loaded(trainer, checkpoints, weights)
        first_validation = float(checkpoints.start["first_validation_loss"])
        losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
        best = _best(trainer, first_validation)
        divergence = divergence_from_base(trainer.model, rows.validation.kept)
        # Only the first process's result is used, and it stores the adapter.
        ranks.wait_for_all()
        adapter_id, folder = "", adapters_dir
        if ranks.is_first():
            adapter_id, folder = store_adapter(trainer.model, adapters_dir, base_fingerprint, weights)
            figures = {"best_validation_loss": best, "base_divergence": divergence}
            events.finish(adapter_id, {**asdict(settings), "base_fingerprint": base_fingerprint}, figures)
            checkpoints.remove()
    return TrainingResult(
        adapter_id=adapter_id,
        folder=folder,
        curve=({"step": 0.0, "eval_loss": first_validation}, *curve_of(trainer.state.log_history)),
        rows_trained=len(rows.train.kept),
        rows_too_long=rows.train.too_long + rows.validation.too_long,
        supervised_tokens=sum(row.supervised for row in rows.train.kept),
        steps=trainer.state.global_step,
        stopped_early=trainer.state.global_step < trainer.state.max_steps,
        resumed_from_step=last.step if last else None,
        packing="bfd" if _is_packed(trainer) else "never",
        first_train_loss=_mean(losses[:3]),
        last_train_loss=_mean(losses[-3:]),
        first_validation_loss=first_validation,
        best_validation_loss=best,
        base_divergence=divergence,
        seconds=trainer.seconds,
        tokens_per_second=telling.tokens_per_second,
        peak_memory_bytes=peak_memory_bytes(),
    )


def training_key(instruction_set: pa.Table, base_fingerprint: str, settings: TrainingSettings) -> str:
    """Name of all that decides the weights."""
    decides = {name: value for name, value in asdict(settings).items() if name != "checkpoint_minutes"}
    parts = [TRAINER, fingerprint_table(instruction_set), base_fingerprint, decides, best_device()]
    return short(fingerprint_json(parts))


def _rows(table: pa.Table, split: str, tokenizer: Any, stops: set[int], settings: TrainingSettings) -> SupervisedRows:
    chosen = [row for row in table.to_pylist() if row["split"] == split]
    pairs = ((row["example_id"], row["messages"]) for row in chosen)
    rows = supervise_all(tokenizer, pairs, settings.max_length, stops)
    require_rows_fit(rows.too_long, settings.too_long, settings.max_length)
    if not rows.kept:
        raise TrainingError(
            f"The {split} split has no example of at most {settings.max_length} tokens ({len(rows.too_long)} are longer). "
            "Raise training.max_length in the recipe or add examples."
        )
    return rows


def _make_trainer(
    model: Any,
    tokenizer: Any,
    rows: _Rows,
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

    def prove(trainer: ResumableTrainer) -> None:
        """What is measured before anything is learned."""
        if batching.strategy == "bfd":
            require_isolation(trainer.model, max(packed, key=lambda row: len(row["seq_lengths"])))
        _first_validation(trainer, checkpoints)

    if several:
        shared = share_out(batching, ranks.count())
        order = FilledSteps(order, batching.rows_per_step, shared.rows_per_pass * ranks.count(), len(dataset))
        dataset, validation = (with_blank_row(d, tokenizer.eos_token_id) for d in (dataset, validation))
        kind: Any = partial(RanksTrainer, eval_rows=settings.batch_size, on_prepared=prove)
    else:
        shared, kind = batching, ResumableTrainer
    schedule = Schedule(order, evaluations, steps_per_epoch, settings.checkpoint_minutes)
    patience = settings.early_stopping_patience
    trainer: ResumableTrainer = kind(
        model=model,
        args=_config(settings, shared, steps_per_epoch, checkpoints.folder),
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
    share = attention_share(config.hidden_size, config.num_hidden_layers, model.get_base_model().num_parameters())
    tokens = [len(ids) for ids in packed["input_ids"]]
    packing = settings.packing if engine_of(settings).packs else "never"
    return choose_batching(packing, lengths, tokens, settings.batch_size, settings.gradient_accumulation, share)


def _config(settings: TrainingSettings, batching: Batching, steps_per_epoch: int, folder: Path) -> SFTConfig:
    on_gpu = best_device() == "cuda"
    is_packed = batching.strategy == "bfd"
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=batching.rows_per_pass,
        per_device_eval_batch_size=-(-settings.batch_size // ranks.count()),
        gradient_accumulation_steps=batching.passes_per_step,
        gradient_checkpointing=uses_checkpointing(settings),
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        optim=OPTIMISER,
        warmup_steps=round(steps_per_epoch * settings.epochs * settings.warmup_fraction),
        lr_scheduler_type="cosine",
        # Rows are packed and measured already, and nothing may be cut.
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        padding_free=is_packed,
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
    count = sum(len(lengths) for lengths in prepared["seq_lengths"]) if _is_packed(trainer) else len(prepared)
    count -= trainer.blank_rows
    supervised = sum(label != -100 for labels in prepared["labels"] for label in labels)
    wanted = sum(row.supervised for row in train.kept)
    if count != len(train.kept) or supervised != wanted:
        raise TrainingError(
            f"The trainer prepared {count} of {len(train.kept)} rows and {supervised} of {wanted} supervised tokens."
        )


def _is_packed(trainer: ResumableTrainer) -> bool:
    prepared: Any = trainer.train_dataset
    return "seq_lengths" in prepared.column_names


def _first_validation(trainer: ResumableTrainer, checkpoints: Checkpoints) -> None:
    """Loss before the first step; of a training that goes on, it was measured then."""
    if "first_validation_loss" not in checkpoints.start:
        measured = trainer.measure_validation_loss()
        require_number(measured, 0)
        if ranks.is_first():
            checkpoints.keep_start({"first_validation_loss": measured})


def _best(trainer: ResumableTrainer, first_validation: float) -> float:
    if trainer.state.best_metric is None:
        raise TrainingError("The validation loss was never measured: nothing says which checkpoint is the best.")
    return min(first_validation, float(trainer.state.best_metric))


def _require_best_is_loaded(trainer: ResumableTrainer, checkpoints: Checkpoints, weights: dict[str, Any]) -> None:
    """transformers only warns when it can't find the best checkpoint, and goes on with the last weights."""
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    best = checkpoints.of_step(int(trainer.state.best_global_step or 0)) / WEIGHTS
    if not best.is_file():
        raise TrainingError(f"The checkpoint with the lowest validation loss is gone: {best.parent.name}.")
    stored, held = load_file(best), get_peft_model_state_dict(trainer.model, state_dict=weights)
    is_same = stored.keys() == held.keys() and all(torch.equal(stored[k], held[k].cpu()) for k in stored)
    if not is_same:
        raise TrainingError("The weights in memory are not those of the checkpoint with the lowest validation loss.")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
