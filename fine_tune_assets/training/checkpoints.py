"""Stores the checkpoints of a running training so that each is either complete or absent.

The folder's name is a hash of everything that determines the weights: a restarted training finds only its own checkpoints. A
checkpoint counts once the list of its files' hashes is written, which happens last.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import make_folder, write_text
from fine_tune_assets.core.fingerprints import fingerprint_files

TRAINER_VERSION = 4
"""Increase it if the same inputs give other weights: older checkpoints are then not resumed."""
MAX_CHECKPOINTS = 3
"""Maximum number on disk, reached during a save: the best, the last and the new one."""
CHECKPOINT_COPIES = 3 * MAX_CHECKPOINTS + 1
"""Maximum disk space as a multiple of the adapter's size: the weights and AdamW's two moments in each checkpoint, and the stored
adapter."""
_PREFIX = "checkpoint-"
_COMPLETE_FILE = "complete.json"
_START_FILE = "start.json"


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    step: int
    seconds: float
    """Duration of the training so far, over all attempts."""


class CheckpointStore:
    """The checkpoints of one training. Only one training runs at a time: folders of others are removed."""

    def __init__(self, root: Path, training: str) -> None:
        self.folder = root / training
        for other in root.glob("*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)
        make_folder(self.folder)

    def latest(self) -> Checkpoint | None:
        """The newest complete checkpoint; incomplete or damaged ones are removed."""
        complete = []
        for folder, step in self._step_folders():
            marker = _read_json(folder / _COMPLETE_FILE)
            if marker is None or marker["files"] != _file_fingerprints(folder):
                shutil.rmtree(folder)
            else:
                complete.append(Checkpoint(folder, step, float(marker["seconds"])))
        return max(complete, key=lambda checkpoint: checkpoint.step, default=None)

    def mark_complete(self, step: int, best_step: int | None, seconds: float) -> None:
        """Mark the checkpoint of this step as complete, and remove all others except the best one."""
        folder = self.step_folder(step)
        write_text(folder / _COMPLETE_FILE, json.dumps({"files": _file_fingerprints(folder), "seconds": seconds}))
        for folder_at, other_step in self._step_folders():
            if other_step not in (step, best_step):
                shutil.rmtree(folder_at, ignore_errors=True)

    def step_folder(self, step: int) -> Path:
        return self.folder / f"{_PREFIX}{step}"

    @property
    def start_metrics(self) -> dict[str, Any]:
        """Metrics from before the first step."""
        return _read_json(self.folder / _START_FILE) or {}

    def save_start_metrics(self, values: dict[str, Any]) -> None:
        write_text(self.folder / _START_FILE, json.dumps(values))

    def remove(self) -> None:
        """Remove everything, after the training has finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _step_folders(self) -> Iterator[tuple[Path, int]]:
        for folder in sorted(self.folder.glob(f"{_PREFIX}*")):
            yield folder, int(folder.name.removeprefix(_PREFIX))


def _file_fingerprints(folder: Path) -> dict[str, str]:
    return {name: found for name, found in fingerprint_files(folder).items() if name != _COMPLETE_FILE}


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
