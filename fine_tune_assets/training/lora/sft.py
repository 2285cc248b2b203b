"""TRL's SFTTrainer with an order of its own and checkpoints that are whole or not there; on several ranks too, which together do
what one process does.

Owns what must differ from TRL and transformers so that a training that is killed ends with the same weights. Optimiser,
schedule and the loss of a step stay theirs; the validation loss is a mean over learned tokens here.
"""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import Sampler
from transformers import TrainerCallback
from trl import SFTTrainer

from fine_tune_assets.training.checkpoints import Checkpoints
from fine_tune_assets.training.lora import ranks
from fine_tune_assets.training.lora.batches import FilledSteps, LengthBatches
from fine_tune_assets.training.lora.ranks import adapter_weights, have_accelerate_shard_on_cpu, require_sharded
from fine_tune_assets.training.supervision.loss_mask import IGNORED


class ResumableTrainer(SFTTrainer):
    """`order`: in which rows are learned. `seconds`: what earlier attempts took."""

    blank_rows = 0
    """Of the training set: they fill up, and nothing is learned of them."""

    def __init__(
        self, *args: Any, order: Sampler[int], checkpoints: Checkpoints, seconds: float, **kwargs: Any
    ) -> None:
        self._order, self._checkpoints = order, checkpoints
        self._began = time.monotonic() - seconds
        self._loss_sum = self._tokens_measured = 0.0
        super().__init__(*args, **kwargs)

    @property
    def seconds(self) -> float:
        """Over all attempts."""
        return time.monotonic() - self._began

    def measure_validation_loss(self) -> float:
        return float(self.evaluate()["eval_loss"])

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """transformers means over batches: the loss would be another one with another batch size."""
        self._loss_sum, self._tokens_measured = 0.0, 0.0
        output: Any = super().evaluation_loop(*args, **kwargs)
        output.metrics["eval_loss"] = self._loss_sum / self._tokens_measured
        return output

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        tokens = float((inputs["labels"][:, 1:] != IGNORED).sum())
        losses, tokens = ranks.summed([float(loss) * tokens, tokens])
        self._loss_sum += losses
        self._tokens_measured += tokens
        return loss, logits, labels

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:  # noqa: ARG002
        return self._order

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        ranks.wait_for_all()  # each writes its own generators' state, which the hashes cover
        if self.args.should_save:
            self._checkpoints.complete(self.state.global_step, self.state.best_global_step, self.seconds)

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with self._number_formats_kept():
            super()._load_from_checkpoint(*args, **kwargs)

    def _load_best_model(self) -> None:
        with self._number_formats_kept():
            super()._load_best_model()

    @contextmanager
    def _number_formats_kept(self) -> Iterator[None]:
        """PEFT turns adapter weights of 16 bits, as QLoRA trains them, into 32 bits when it loads them (0.21)."""
        model: Any = self.model
        formats = {name: p.dtype for name, p in model.named_parameters() if p.requires_grad}
        yield
        for name, parameter in model.named_parameters():
            if name in formats:
                parameter.data = parameter.data.to(formats[name])

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: what an adapter was made of is told by the assets, and a card beside every checkpoint costs time."""


def with_blank_row(dataset: Any, token: int) -> Any:
    """A datasets.Dataset with one row more, of which nothing is learned."""
    blank = {"input_ids": [token, token], "labels": [IGNORED, IGNORED], "seq_lengths": [2]}
    return dataset.add_item({name: blank[name] for name in dataset.column_names})


class RanksTrainer(ResumableTrainer):
    """Each rank learns from its share of a step's rows. Where they can't be shared out evenly, blank rows fill up: none is left
    out or learned twice.

    `on_prepared`: called once the model is on the ranks, before the first step. The last row of both sets is blank.
    """

    blank_rows = 1

    def __init__(self, *args: Any, eval_rows: int, on_prepared: Callable[[Any], None], **kwargs: Any) -> None:
        """`eval_rows`: rows of the validation set that all ranks together measure in one pass."""
        self._eval_rows, self._on_prepared = eval_rows, on_prepared
        super().__init__(*args, **kwargs)

    def create_accelerator_and_postprocess(self) -> None:
        if self.args.fsdp:
            have_accelerate_shard_on_cpu()
        super().create_accelerator_and_postprocess()

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int]:
        rows = range(len(eval_dataset) - 1)
        pass_rows = self.args.per_device_eval_batch_size * ranks.count()
        return FilledSteps(rows, self._eval_rows, pass_rows, blank=len(rows))

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super()._prepare_for_training(*args, **kwargs)
        if self.args.fsdp:
            require_sharded(self.model)
        self._on_prepared(self)
        return prepared

    def measure_validation_loss(self) -> float:
        """Without a place in the log."""
        output = self.evaluation_loop(self.get_eval_dataloader(), "validation", prediction_loss_only=True)
        self._metrics["eval"].clear()
        return float((output.metrics or {})["eval_loss"])

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The adapter alone: transformers would gather the base model too, at every checkpoint."""
        weights = adapter_weights(self.model)
        if self.args.should_save:
            self._save(output_dir, state_dict=weights)


class Schedule(TrainerCallback):
    """When to measure the validation loss and when to write a checkpoint, and which epoch's order is the next."""

    def __init__(
        self, order: LengthBatches | FilledSteps, evaluations: Collection[int], steps_per_epoch: int, minutes: float
    ) -> None:
        self._order, self._evaluations = order, frozenset(evaluations)
        self._steps_per_epoch, self._seconds = steps_per_epoch, minutes * 60
        self._saved = time.monotonic()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        # Not by state.epoch, which is a fraction after a resume.
        self._order.set_epoch(state.global_step // self._steps_per_epoch)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        if state.global_step in self._evaluations:
            control.should_evaluate = control.should_save = True
        if ranks.as_first_says(time.monotonic() - self._saved >= self._seconds):
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._saved = time.monotonic()
