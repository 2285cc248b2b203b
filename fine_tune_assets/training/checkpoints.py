"""Checkpoints of a training that is going on: whole, or not there.

Owns their folder, which is named by all that decides the weights: a training that was killed finds its own and no other's.
A checkpoint counts when the list of its files' hashes is written, which is done last. Does not know what is in the files.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import make_folder, write_text
from fine_tune_assets.core.fingerprints import fingerprint_files

TRAINER = 3
"""Raised when the same inputs train to other weights than before: a checkpoint of before is then not gone on from."""
CHECKPOINTS_KEPT = 3
"""At most, while one is written: the best, the last and the new one."""
CHECKPOINT_COPIES = 3 * CHECKPOINTS_KEPT + 1
"""Of the adapter's bytes that lie on the disk at most: in each checkpoint weights and AdamW's two numbers for each, and the
adapter itself."""
_PREFIX = "checkpoint-"
_COMPLETE = "complete.json"
_START = "start.json"


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    step: int
    seconds: float
    """How long the training had taken, over all attempts."""


class Checkpoints:
    """Those of one training. Only one training goes on at a time: what others left beside it is removed."""

    def __init__(self, root: Path, training: str) -> None:
        self.folder = root / training
        for other in root.glob("*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)
        make_folder(self.folder)

    def latest(self) -> Checkpoint | None:
        """The newest whole one; a half-written or damaged one is removed."""
        whole = []
        for folder, step in self._found():
            marker = _read(folder / _COMPLETE)
            if marker is None or marker["files"] != _files(folder):
                shutil.rmtree(folder)
            else:
                whole.append(Checkpoint(folder, step, float(marker["seconds"])))
        return max(whole, key=lambda checkpoint: checkpoint.step, default=None)

    def complete(self, step: int, best_step: int | None, seconds: float) -> None:
        """The checkpoint of this step is whole: those before it go, but for the best one."""
        folder = self.of_step(step)
        write_text(folder / _COMPLETE, json.dumps({"files": _files(folder), "seconds": seconds}))
        for other, at in self._found():
            if at not in (step, best_step):
                shutil.rmtree(other, ignore_errors=True)

    def of_step(self, step: int) -> Path:
        return self.folder / f"{_PREFIX}{step}"

    @property
    def start(self) -> dict[str, Any]:
        """What was measured before the first step."""
        return _read(self.folder / _START) or {}

    def keep_start(self, values: dict[str, Any]) -> None:
        write_text(self.folder / _START, json.dumps(values))

    def remove(self) -> None:
        """The training is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _found(self) -> Iterator[tuple[Path, int]]:
        for folder in sorted(self.folder.glob(f"{_PREFIX}*")):
            yield folder, int(folder.name.removeprefix(_PREFIX))


def _files(folder: Path) -> dict[str, str]:
    return {name: found for name, found in fingerprint_files(folder).items() if name != _COMPLETE}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
