"""The trainer of several ranks: each learns from its share of a step's rows, and together they do what one process does.

Owns how rows are shared out. A step's rows are those of one process; where they can't
be shared out evenly, blank rows fill up, of which nothing is learned. None is left out or learned twice.
"""

from collections.abc import Callable
from typing import Any

from torch.utils.data import Sampler

from fine_tune_assets.training import ranks
from fine_tune_assets.training.batches import FilledSteps
from fine_tune_assets.training.sft import ResumableTrainer
from fine_tune_assets.training.sharding import adapter_weights, have_accelerate_shard_on_cpu, require_sharded
from fine_tune_assets.training.supervision import IGNORED


def with_blank_row(dataset: Any, token: int) -> Any:
    """A datasets.Dataset with one row more, of which nothing is learned."""
    blank = {"input_ids": [token, token], "labels": [IGNORED, IGNORED], "seq_lengths": [2]}
    return dataset.add_item({name: blank[name] for name in dataset.column_names})


class RanksTrainer(ResumableTrainer):
    """`on_prepared`: called once the model is on the ranks, before the first step. The last row of both sets is blank."""

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
