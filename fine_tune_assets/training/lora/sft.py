"""Extends TRL's SFTTrainer with a reproducible row order, atomic checkpoints and training on several ranks.

A killed training must end with the same weights, and several ranks must compute what one process computes. Optimizer, schedule
and training loss are TRL's; the validation loss is the mean over supervised tokens.
"""

import time
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback
from trl import SFTTrainer

from fine_tune_assets.training.checkpoints import CheckpointStore
from fine_tune_assets.training.lora import distributed_state as ranks
from fine_tune_assets.training.lora.batch_order import LengthSampler, PaddedStepSampler
from fine_tune_assets.training.lora.distributed_state import (
    enable_cpu_sharding,
    gather_adapter_weights,
    require_sharded,
)
from fine_tune_assets.training.supervision.loss_mask import IGNORE_INDEX


class ResumableTrainer(SFTTrainer):
    """`order`: the order of training rows. `elapsed_seconds`: duration of earlier attempts."""

    blank_rows = 0
    """Number of padding rows in the training set, which have no supervised tokens."""

    def __init__(
        self, *args: Any, order: Sampler[int], checkpoints: CheckpointStore, elapsed_seconds: float, **kwargs: Any
    ) -> None:
        self._order, self._checkpoints = order, checkpoints
        self._started_at = time.monotonic() - elapsed_seconds
        self._loss_sum = self._tokens_measured = 0.0
        super().__init__(*args, **kwargs)
        use_full_precision(self.model)

    @property
    def elapsed_seconds(self) -> float:
        """Duration over all attempts."""
        return time.monotonic() - self._started_at

    def measure_validation_loss(self) -> float:
        return float(self.evaluate()["eval_loss"])

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Averages over tokens. transformers averages over batches, so its loss would depend on the batch size."""
        self._loss_sum, self._tokens_measured = 0.0, 0.0
        output: Any = super().evaluation_loop(*args, **kwargs)
        output.metrics["eval_loss"] = self._loss_sum / self._tokens_measured
        return output

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        tokens = float((inputs["labels"][:, 1:] != IGNORE_INDEX).sum())
        losses, tokens = ranks.sum_over_ranks([float(loss) * tokens, tokens])
        self._loss_sum += losses
        self._tokens_measured += tokens
        return loss, logits, labels

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:  # noqa: ARG002
        return self._order

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        ranks.wait_for_everyone()  # each rank writes its random state, which the hashes cover
        if self.args.should_save:
            self._checkpoints.mark_complete(self.state.global_step, self.state.best_global_step, self.elapsed_seconds)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Disabled: Dagster assets document an adapter, and writing a card with every checkpoint takes time."""


def use_full_precision(model: Any) -> None:
    """Train the adapter in 32 bits, with AdamW's moments, as LoRA is.

    TRL converts a QLoRA adapter to 16 bits, in which many steps of a small learning rate are lost by rounding
    (benchmarks/results/qlora-precision.md). The optimizer is made later, for these weights.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


def add_blank_row(dataset: Any, token: int) -> Any:
    """The datasets.Dataset with one additional row that has no supervised tokens."""
    blank = {"input_ids": [token, token], "labels": [IGNORE_INDEX, IGNORE_INDEX], "seq_lengths": [2]}
    return dataset.add_item({name: blank[name] for name in dataset.column_names})


class DistributedTrainer(ResumableTrainer):
    """Gives each rank its share of a step's rows. Blank rows fill uneven shares, so that no row is skipped or used twice.

    `on_prepared`: called once after the model is distributed, before the first step. The last row of both sets is blank.
    """

    blank_rows = 1

    def __init__(self, *args: Any, eval_pass_rows: int, on_prepared: Callable[[Any], None], **kwargs: Any) -> None:
        """`eval_pass_rows`: validation rows per pass over all ranks."""
        self._eval_rows, self._on_prepared = eval_pass_rows, on_prepared
        super().__init__(*args, **kwargs)

    def create_accelerator_and_postprocess(self) -> None:
        if self.args.fsdp:
            enable_cpu_sharding()
        super().create_accelerator_and_postprocess()

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int]:
        rows = range(len(eval_dataset) - 1)
        pass_rows = self.args.per_device_eval_batch_size * ranks.world_size()
        return PaddedStepSampler(rows, self._eval_rows, pass_rows, blank_row=len(rows))

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super()._prepare_for_training(*args, **kwargs)
        if self.args.fsdp:
            require_sharded(self.model)
        self._on_prepared(self)
        return prepared

    def measure_validation_loss(self) -> float:
        """Does not log the loss."""
        output = self.evaluation_loop(self.get_eval_dataloader(), "validation", prediction_loss_only=True)
        self._metrics["eval"].clear()
        return float((output.metrics or {})["eval_loss"])

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves only the adapter: transformers would gather the base model at every checkpoint."""
        weights = gather_adapter_weights(self.model)
        if self.args.should_save:
            self._save(output_dir, state_dict=weights)


class ScheduleCallback(TrainerCallback):
    """Decides when to measure the validation loss and to write a checkpoint, and sets the epoch of the row order."""

    def __init__(
        self,
        order: LengthSampler | PaddedStepSampler,
        evaluations: Collection[int],
        steps_per_epoch: int,
        minutes: float,
    ) -> None:
        self._order, self._evaluations = order, frozenset(evaluations)
        self._steps_per_epoch, self._seconds = steps_per_epoch, minutes * 60
        self._saved_at = time.monotonic()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        # Counted here, because state.epoch is fractional after a resume.
        self._order.set_epoch(state.global_step // self._steps_per_epoch)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        if state.global_step in self._evaluations:
            control.should_evaluate = control.should_save = True
        if ranks.broadcast_flag(time.monotonic() - self._saved_at >= self._seconds):
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._saved_at = time.monotonic()
