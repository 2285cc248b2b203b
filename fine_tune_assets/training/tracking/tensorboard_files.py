"""Writes TensorBoard event files during a training, with numbers and ids only.

Each step appears once, even after a kill: on resume, the file is rewritten from the checkpoint's history. The folder is renamed
to the adapter's name at the end.
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
from fine_tune_assets.training.checkpoints import CheckpointStore
from fine_tune_assets.training.tracking.training_progress import ProgressCallback, peak_memory_bytes

IN_PROGRESS = "in-progress-"
"""Prefix of the folder name until the adapter exists."""
TAGS: Mapping[str, str] = {
    "loss": "train/loss",
    "eval_loss": "validation/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/gradient_norm",
    "tokens_per_second": "speed/tokens_per_second",
    "memory_gb": "memory/peak_gb",
}
"""Logged value → its TensorBoard tag."""
_LOGGED_AT = "logged_at"
FLUSH_SECONDS = 5
"""Flush interval. Each flush waits for the disk, so it does not happen after every step."""


class EventFiles(TrainerCallback):
    """Must be called after `training_progress`, which measures the speed. Without a root, nothing is written."""

    def __init__(self, root: Path | None, checkpoints: CheckpointStore, progress_callback: ProgressCallback) -> None:
        self._root, self._checkpoints, self._progress_callback = root, checkpoints, progress_callback
        self._writer: SummaryWriter | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if self._root is None or not state.is_world_process_zero:
            return
        # Files of the previous attempt, with steps after its last checkpoint, or of another training.
        for stale in self._root.glob(f"{IN_PROGRESS}*"):
            shutil.rmtree(stale, ignore_errors=True)
        folder = self._root / f"{IN_PROGRESS}{self._checkpoints.folder.name}"
        make_folder(folder)
        self._writer = SummaryWriter(str(folder), flush_secs=FLUSH_SECONDS)
        first = self._checkpoints.start_metrics.get("first_validation_loss")
        for entry in [{"eval_loss": first, "step": 0} if first is not None else {}, *state.log_history]:
            _add_entry(self._writer, entry)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if self._writer is None:
            return  # loss before the first step
        entry = state.log_history[-1]
        # Stored in the history, which checkpoints keep.
        entry[_LOGGED_AT] = time.time()
        if "loss" in entry:
            entry["memory_gb"] = peak_memory_bytes() / 1e9
            if self._progress_callback.tokens_per_second:
                entry["tokens_per_second"] = self._progress_callback.tokens_per_second
        _add_entry(self._writer, entry)

    def finish(self, adapter_id: str, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Close the file and rename its folder to the adapter's name. Replaces the folder of an earlier training."""
        if self._root is None or self._writer is None or self._writer.file_writer is None:
            return
        written = {"adapter_id": adapter_id} | {name: _hparam_value(value) for name, value in params.items()}
        for summary in hparams(written, dict(metrics)):
            self._writer.file_writer.add_summary(summary)
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, 0)
        self._writer.close()
        in_progress = Path(self._writer.logdir)
        folder = self._root / short(adapter_id)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(in_progress, folder)


def _add_entry(writer: SummaryWriter, entry: Mapping[str, Any]) -> None:
    for name, tag in TAGS.items():
        if name in entry:
            writer.add_scalar(tag, float(entry[name]), int(entry["step"]), walltime=entry.get(_LOGGED_AT))


def _hparam_value(value: Any) -> str | bool | float:
    """In a type that the hparams page supports."""
    return value if isinstance(value, bool | int | float | str) else str(value)
