"""Translates training failures that users can fix (memory, disk, divergence) into messages with the setting to change.

Other errors pass unchanged.
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
    """A training could not start or failed."""


NOT_FINITE = (
    "The loss is not a finite number at step {step}. Lower training.learning_rate in the recipe; the training then restarts from "
    "the beginning. Nothing was stored."
)
OUT_OF_MEMORY = (
    "Out of memory. In the recipe, halve training.batch_size and double gradient_accumulation (same steps, slower), set "
    "gradient_checkpointing: true, lower max_length, or use method: qlora. Nothing was stored."
)
DISK_FULL = "The disk is full: {free}. Free some space and start again; the training resumes from the last checkpoint."


_NO_AUTOGRAD_KERNEL = r".*an autograd kernel was not registered"
"""torch only warns and continues with wrong gradients."""


@contextmanager
def explain_errors(*folders: Path) -> Iterator[None]:
    """Turn failures that users can fix into TrainingErrors. `folders`: written during the block, such as checkpoints."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=_NO_AUTOGRAD_KERNEL)
            yield
    except FineTuneError:
        raise
    # Broad, but only to translate: anything else is re-raised unchanged.
    except Exception as error:
        if is_out_of_memory(error):
            raise TrainingError(OUT_OF_MEMORY) from None
        if is_disk_full(error, folders):
            raise TrainingError(DISK_FULL.format(free=_describe_full_disk(error, folders))) from None
        if re.search(_NO_AUTOGRAD_KERNEL, str(error)):
            raise TrainingError(
                "An operation of the model has no gradient on this machine, so the layers below it would silently stay untrained."
            ) from None
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """torch has an exception type for GPUs only; for CPUs it is a RuntimeError with one of these texts."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


NEARLY_FULL_BYTES = 4_000_000
"""With less free space, a torch writer error counts as a full disk, which torch does not report as such."""


def is_disk_full(error: BaseException, folders: Sequence[Path]) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    message = str(error).lower()
    if "no space left" in message or "os error 28" in message:
        return True
    return ("inline_container" in message or "iostream error" in message) and any(
        free_bytes(folder) < NEARLY_FULL_BYTES for folder in folders
    )


def _describe_full_disk(error: BaseException, folders: Sequence[Path]) -> str:
    """Free space in the folder that the error names, or else in the fullest folder or the system's temporary folder."""
    filename, scratch = getattr(error, "filename", None), Path(tempfile.gettempdir())
    folder_with_least = Path(filename).parent if isinstance(filename, str) else min(folders, key=free_bytes)
    if not filename and free_bytes(scratch) < NEARLY_FULL_BYTES <= free_bytes(folder_with_least):
        folder_with_least = scratch
    return f"{free_bytes(folder_with_least) // 1_000_000} MB are free at {folder_with_least}"


def free_bytes(folder: Path) -> int:
    """Free space on the folder's disk; the folder need not exist."""
    existing = next(candidate for candidate in (folder, *folder.absolute().parents) if candidate.exists())
    return shutil.disk_usage(existing).free


def require_disk_space(folder: Path, required_bytes: int) -> None:
    """Raise TrainingError unless checkpoints and adapter of `required_bytes` fit."""
    free = free_bytes(folder)
    if free < required_bytes:
        raise TrainingError(
            f"Checkpoints and adapter need {required_bytes // 1_000_000} MB, but only {free // 1_000_000} MB are free at "
            f"{folder}. Free some space."
        )


def require_finite(value: float, step: int) -> None:
    """Raise TrainingError unless the loss or the gradient norm is finite."""
    if value != value or abs(value) == float("inf"):
        raise TrainingError(NOT_FINITE.format(step=step))
