"""LoRA and QLoRA training with TRL's SFTTrainer and PEFT.

Owns one training, from an instruction set and a base model to an adapter folder named by its fingerprint. Does not know
why it was started or what becomes of the adapter.
"""

import json
import resource
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import set_seed
from trl import SFTConfig, SFTTrainer

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import folder_written_aside
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.transformers_models import best_device, load_model, load_tokenizer, use_threads
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.supervised_loss import score_learned_positions_only
from fine_tune_assets.training.supervision import SupervisedRow, SupervisedRows, supervise_all

LOGGING_POINTS = 40
"""Points of the loss curve that are kept: enough for a picture, few enough for an event."""


class TrainingError(FineTuneError):
    """Training could not start or went wrong."""


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
    first_train_loss: float
    last_train_loss: float
    first_validation_loss: float
    best_validation_loss: float
    seconds: float
    peak_memory_bytes: int


class _Telling(TrainerCallback):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        loss = (kwargs.get("logs") or {}).get("loss")
        if loss is not None:
            self._progress(state.global_step, state.max_steps, f"optimiser steps, loss {float(loss):.3f}")


def train_adapter(
    instruction_set: pa.Table,
    base_folder: Path,
    base_fingerprint: str,
    adapters_dir: Path,
    settings: TrainingSettings,
    threads: int,
    progress: Progress,
) -> TrainingResult:
    """Train and store one adapter. Raises TrainingError; nothing is left under a final name then."""
    use_threads(threads)
    set_seed(settings.seed)
    tokenizer = load_tokenizer(base_folder)
    train = _rows(instruction_set, "train", tokenizer, settings.max_length)
    validation = _rows(instruction_set, "validation", tokenizer, settings.max_length)
    model = load_model(base_folder, is_quantized=settings.method == "qlora")
    if settings.method == "qlora":
        model = prepare_model_for_kbit_training(model)
    peft_model = get_peft_model(model, _lora_config(settings))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="training-") as scratch:
        trainer = _make_trainer(peft_model, tokenizer, train, validation, settings, Path(scratch), progress)
        first_validation = float(trainer.evaluate()["eval_loss"])
        trainer.train()
        best = min(first_validation, *_logged(trainer.state.log_history, "eval_loss"))
        losses = _logged(trainer.state.log_history, "loss")
        _require_finite(losses, first_validation, best)
        adapter_id, folder = _store(peft_model, adapters_dir, base_fingerprint)
    return TrainingResult(
        adapter_id=adapter_id,
        folder=folder,
        curve=({"step": 0.0, "eval_loss": first_validation}, *_curve(trainer.state.log_history)),
        rows_trained=len(train.kept),
        rows_too_long=train.too_long + validation.too_long,
        supervised_tokens=sum(row.supervised for row in train.kept),
        steps=trainer.state.global_step,
        first_train_loss=_mean(losses[:3]),
        last_train_loss=_mean(losses[-3:]),
        first_validation_loss=first_validation,
        best_validation_loss=best,
        seconds=time.monotonic() - started,
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _rows(table: pa.Table, split: str, tokenizer: Any, max_length: int) -> SupervisedRows:
    chosen = [row for row in table.to_pylist() if row["split"] == split]
    rows = supervise_all(tokenizer, ((r["example_id"], r["messages"]) for r in chosen), max_length)
    if not rows.kept:
        raise TrainingError(
            f"The {split} split has no example of at most {max_length} tokens ({len(rows.too_long)} are longer). "
            "Raise training.max_length in the recipe or add examples."
        )
    return rows


def _lora_config(settings: TrainingSettings) -> LoraConfig:
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        bias="none",
        task_type="CAUSAL_LM",
    )


def _make_trainer(
    model: Any,
    tokenizer: Any,
    train: SupervisedRows,
    validation: SupervisedRows,
    settings: TrainingSettings,
    scratch: Path,
    progress: Progress,
) -> SFTTrainer:
    per_epoch = -(-len(train.kept) // (settings.batch_size * settings.gradient_accumulation))
    steps = per_epoch * settings.epochs
    on_gpu = best_device() == "cuda"
    config = SFTConfig(
        output_dir=str(scratch),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        gradient_checkpointing=on_gpu,
        learning_rate=settings.learning_rate,
        warmup_steps=round(steps * settings.warmup_fraction),
        lr_scheduler_type="cosine",
        max_length=settings.max_length,
        train_sampling_strategy="group_by_length",
        logging_steps=max(1, steps // LOGGING_POINTS),
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        bf16=on_gpu,
        use_cpu=not on_gpu,
        seed=settings.seed,
        data_seed=settings.seed,
        full_determinism=False,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=on_gpu,
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=_dataset(train.kept),
        eval_dataset=_dataset(validation.kept),
        processing_class=tokenizer,
        callbacks=[_Telling(progress)],
    )
    trainer.remove_callback(PrinterCallback)  # _Telling says it in one line
    if not on_gpu:
        score_learned_positions_only(model.get_base_model())
    _require_all_rows(trainer, train)
    return trainer


def _dataset(rows: Sequence[SupervisedRow]) -> Dataset:
    return Dataset.from_dict({"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]})


def _require_all_rows(trainer: SFTTrainer, train: SupervisedRows) -> None:
    """Rows in = rows trained: nothing may be dropped or cut on the way into the trainer."""
    prepared: Any = trainer.train_dataset
    supervised = sum(label != -100 for labels in prepared["labels"] for label in labels)
    wanted = sum(row.supervised for row in train.kept)
    if len(prepared) != len(train.kept) or supervised != wanted:
        raise TrainingError(
            f"The trainer prepared {len(prepared)} of {len(train.kept)} rows and {supervised} of {wanted} supervised tokens."
        )


def _store(model: Any, adapters_dir: Path, base_fingerprint: str) -> tuple[str, Path]:
    """Save the adapter, canonical, under its fingerprint."""
    with tempfile.TemporaryDirectory(prefix="adapter-") as scratch:
        saved = Path(scratch) / "adapter"
        model.save_pretrained(saved, safe_serialization=True)
        config = json.loads((saved / "adapter_config.json").read_text(encoding="utf-8"))
        # PEFT writes target_modules in the order of a set and the base's path of this machine: neither is content.
        config["target_modules"] = sorted(config["target_modules"])
        config["base_model_name_or_path"] = base_fingerprint
        canonical = Path(scratch) / "canonical"
        canonical.mkdir()
        text = json.dumps(config, indent=2, sort_keys=True)
        (canonical / "adapter_config.json").write_text(text, encoding="utf-8")
        shutil.copy(saved / "adapter_model.safetensors", canonical)
        fingerprint = fingerprint_folder(canonical)
        folder = adapters_dir / short(fingerprint)
        with folder_written_aside(folder) as aside:
            shutil.copytree(canonical, aside, dirs_exist_ok=True)
    return fingerprint, folder


def _logged(history: list[dict[str, float]], name: str) -> list[float]:
    return [float(entry[name]) for entry in history if name in entry]


def _curve(history: list[dict[str, float]]) -> list[dict[str, float]]:
    names = ("step", "loss", "eval_loss", "learning_rate")
    return [
        {k: float(entry[k]) for k in names if k in entry}
        for entry in history
        if "loss" in entry or "eval_loss" in entry
    ]


def _require_finite(losses: list[float], *others: float) -> None:
    values = [*losses, *others]
    if not losses or any(value != value or value == float("inf") for value in values):
        raise TrainingError("The loss is not a number. Lower training.learning_rate in the recipe.")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
