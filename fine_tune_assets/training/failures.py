"""What went wrong in a training, in words that say what to change.

Owns telling apart what people can mend: memory, disk, a learning rate that is too high. Anything else stays what it is.
"""

import errno
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError


class TrainingError(FineTuneError):
    """Training could not start or went wrong."""


class UnfitSettingsError(TrainingError):
    """These settings do not go with this machine or these examples; others may."""


NOT_A_NUMBER = (
    "The loss is not a number at step {step}. Lower training.learning_rate in the recipe: a training with "
    "another one begins anew. Nothing was stored."
)
OUT_OF_MEMORY = (
    "Out of memory. In the recipe: halve training.batch_size and double gradient_accumulation (the same steps, slower), set "
    "gradient_checkpointing: true, lower max_length, or train with method: qlora. Nothing was stored."
)
DISK_FULL = "The disk is full: {free}. Make room and start again; it goes on from the last checkpoint."


_NO_DERIVATIVE = r".*an autograd kernel was not registered"
"""torch only warns, and goes on with gradients that are wrong."""


@contextmanager
def explained(*folders: Path) -> Iterator[None]:
    """Turn what people can mend into a TrainingError. `folders`: where something is written, such as checkpoints."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=_NO_DERIVATIVE)
            yield
    except FineTuneError:
        raise
    # Only to say what people can mend; anything else goes on as it is.
    except Exception as error:
        if is_out_of_memory(error):
            raise UnfitSettingsError(OUT_OF_MEMORY) from None
        if is_disk_full(error, folders):
            raise TrainingError(DISK_FULL.format(free=_fullest(error, folders))) from None
        if re.search(_NO_DERIVATIVE, str(error)):
            raise TrainingError(
                "An operation of the model has no derivative on this machine: what lies below it would not be trained, silently."
            ) from None
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """On a GPU torch has a type for it; on a CPU its allocator says so in words only."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


ALMOST_NOTHING = 4_000_000
"""Bytes. torch's writer that fails with so little room left failed for want of room: it does not say so."""


def is_disk_full(error: BaseException, folders: Sequence[Path]) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = str(error).lower()
    if "no space left" in said or "os error 28" in said:
        return True
    return ("inline_container" in said or "iostream error" in said) and any(
        free_bytes(folder) < ALMOST_NOTHING for folder in folders
    )


def _fullest(error: BaseException, folders: Sequence[Path]) -> str:
    """The place that the error names, else the one with least room; the system's own for scratch files if that has none."""
    named, scratch = getattr(error, "filename", None), Path(tempfile.gettempdir())
    place = Path(named).parent if isinstance(named, str) else min(folders, key=free_bytes)
    if not named and free_bytes(scratch) < ALMOST_NOTHING <= free_bytes(place):
        place = scratch
    return f"{free_bytes(place) // 1_000_000} MB are free at {place}"


def free_bytes(folder: Path) -> int:
    """On the disk of the folder, which need not be there yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def require_room(folder: Path, needed: int) -> None:
    """Raise TrainingError unless checkpoints and adapter of `needed` bytes fit."""
    free = free_bytes(folder)
    if free < needed:
        raise TrainingError(
            f"Checkpoints and adapter need {needed // 1_000_000} MB, and {free // 1_000_000} MB are free at {folder}. "
            "Make room before a GPU hour is spent."
        )


def require_number(value: float, step: int) -> None:
    """Raise UnfitSettingsError unless the loss or the size of the gradient is a finite number."""
    if value != value or abs(value) == float("inf"):
        raise UnfitSettingsError(NOT_A_NUMBER.format(step=step))
