"""Reads what earlier sets of a recipe trained on, so that it can be trained on again.

Owns what may be replayed: rows of training whose text the present scrubber left, and of which nobody says why not. A set
without provenance shows neither where a row comes from nor who approved it, and gives nothing.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.tables import INSTRUCTION_PROVENANCE, conform
from fine_tune_assets.instructions.building import Dropped
from fine_tune_assets.instructions.earlier_sets import stored_manifests
from fine_tune_assets.instructions.exporting import ALPACA
from fine_tune_assets.instructions.storing import PROVENANCE, InstructionSetError, read_instruction_set


def read_replayable(root: Path, recipe: str, salt: str, scrubber_version: str) -> list[dict[str, Any]]:
    """Train rows of all stored sets of the recipe, each content once, with instruction, input, output and provenance.

    Raises InstructionSetError if a set was changed after it was written.
    """
    found: dict[str, dict[str, Any]] = {}
    for manifest, folder in stored_manifests(root, salt):
        if manifest["facts"].get("recipe") == recipe and (folder / PROVENANCE).is_file():
            stored = read_instruction_set(root, manifest["fingerprint"])
            for row in _train_rows(stored.folder):
                if row["scrubber_version"] == scrubber_version:
                    found.setdefault(row["fingerprint"], row)
    return [found[fingerprint] for fingerprint in sorted(found)]


def sort_out(
    rows: Iterable[dict[str, Any]], why_not: Callable[[dict[str, Any]], str | None]
) -> tuple[list[dict[str, Any]], list[Dropped]]:
    """The rows that may be replayed, and those that may not, each with the reason that `why_not` gives."""
    kept: list[dict[str, Any]] = []
    dropped: list[Dropped] = []
    for row in rows:
        reason = why_not(row)
        if reason is None:
            kept.append(row)
        else:
            dropped.append(Dropped(row["example_id"], reason))
    return kept, dropped


def _train_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Provenance and content of each train row that is not general. Both files hold the train rows in the set's order."""
    provenance = conform(pq.read_table(folder / PROVENANCE), INSTRUCTION_PROVENANCE)
    train: pa.Table = provenance.filter(pc.equal(provenance.column("split"), "train"))
    contents = json.loads((folder / ALPACA).read_text(encoding="utf-8"))
    if train.num_rows != len(contents):
        raise InstructionSetError(f"The stored instruction set {folder.name} has not the same rows in {ALPACA}.")
    for row, content in zip(train.to_pylist(), contents, strict=True):
        if row["patient_key"] is not None:
            yield {**row, **{name: content[name] for name in ("instruction", "input", "output")}}
