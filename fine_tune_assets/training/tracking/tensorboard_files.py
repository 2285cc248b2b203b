"""TensorBoard event files of a training, written while it goes on: figures and ids only.

Owns that each step is in them once, also after a kill: the file is written anew from what the checkpoint knows, and goes on from
there. The folder gets the adapter's name when there is an adapter.
"""

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams
from transformers import TrainerCallback

from fine_tune_assets.core.files import make_folder
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.training.checkpoints import Checkpoints
from fine_tune_assets.training.tracking.training_progress import Telling, peak_memory_bytes

GOING_ON = "going-on-"
"""Before the name of a training that has no adapter yet."""
TAGS: Mapping[str, str] = {
    "loss": "train/loss",
    "eval_loss": "validation/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/gradient_norm",
    "tokens_per_second": "speed/tokens_per_second",
    "memory_gb": "memory/peak_gb",
}
"""Figure of a logged step → its name on the page."""
_AT = "logged_at"
FLUSH_SECONDS = 5
"""After which a page shows what was logged. Each flush waits for the disk, so not after every step."""


class EventFiles(TrainerCallback):
    """`training_progress` measures the speed, and is called before this one. Without a root nothing is written."""

    def __init__(self, root: Path | None, checkpoints: Checkpoints, telling: Telling) -> None:
        self._root, self._checkpoints, self._telling = root, checkpoints, telling
        self._writer: SummaryWriter | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if self._root is None or not state.is_world_process_zero:
            return
        # Of the attempt before, with steps behind its last checkpoint that are learned again; or of another training.
        for left in self._root.glob(f"{GOING_ON}*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = self._root / f"{GOING_ON}{self._checkpoints.folder.name}"
        make_folder(folder)
        self._writer = SummaryWriter(str(folder), flush_secs=FLUSH_SECONDS)
        first = self._checkpoints.start.get("first_validation_loss")
        for entry in [{"eval_loss": first, "step": 0} if first is not None else {}, *state.log_history]:
            _add(self._writer, entry)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if self._writer is None:
            return  # the loss before the first step
        entry = state.log_history[-1]
        # Into the history, since that is what a checkpoint keeps.
        entry[_AT] = time.time()
        if "loss" in entry:
            entry["memory_gb"] = peak_memory_bytes() / 1e9
            if self._telling.tokens_per_second:
                entry["tokens_per_second"] = self._telling.tokens_per_second
        _add(self._writer, entry)

    def finish(self, adapter_id: str, params: Mapping[str, Any], figures: Mapping[str, float]) -> None:
        """Close the file and name its folder by the adapter; those of an earlier training of the same adapter give way."""
        if self._root is None or self._writer is None or self._writer.file_writer is None:
            return
        written = {"adapter_id": adapter_id} | {name: _plain(value) for name, value in params.items()}
        for summary in hparams(written, dict(figures)):
            self._writer.file_writer.add_summary(summary)
        for name, value in figures.items():
            self._writer.add_scalar(name, value, 0)
        self._writer.close()
        going_on = Path(self._writer.logdir)
        folder = self._root / short(adapter_id)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(going_on, folder)


def _add(writer: SummaryWriter, entry: Mapping[str, Any]) -> None:
    for name, tag in TAGS.items():
        if name in entry:
            writer.add_scalar(tag, float(entry[name]), int(entry["step"]), walltime=entry.get(_AT))


def _plain(value: Any) -> str | bool | float:
    """As the page of parameters takes it."""
    return value if isinstance(value, bool | int | float | str) else str(value)
