"""Reads earlier instruction sets: their test subjects and test examples, and the training rows that may be replayed.

Rows are replayed only if the current scrubber produced their text. Only sets of the same salt count, because another salt is
another product line. An unreadable set raises an error; otherwise an earlier test example could get into training.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.erased_sets import REMAINING_FILE, read_erased_set
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.instructions.assembly import DroppedExample
from fine_tune_assets.instructions.set_examples import SetExample, replayed_example
from fine_tune_assets.instructions.set_exports import ALPACA
from fine_tune_assets.instructions.splits import EarlierTests
from fine_tune_assets.instructions.stored_sets import (
    MANIFEST,
    PROVENANCE,
    TABLE,
    InstructionSetError,
    read_instruction_set,
)
from fine_tune_assets.recipes.schema import SplitSettings
from fine_tune_assets.tables.instruction_rows import ProvenanceRow
from fine_tune_assets.tables.record_classes import conform, iter_records


def read_earlier_tests(root: Path, split: SplitSettings, exclude: str = "") -> EarlierTests:
    """The test splits of every set below `root` with the salt of `split`, except `exclude`. Raises InstructionSetError."""
    same: set[str] = set()
    other: set[str] = set()
    examples: dict[str, str] = {}
    for manifest, folder in stored_manifests(root, split.salt):
        if manifest["fingerprint"] == exclude:
            continue
        tested = _read_test_rows(folder)
        subjects = set(tested.column("subject_key").to_pylist()) - {None}
        facts = manifest["facts"]
        by_rule = (facts.get("test_fraction"), facts.get("test_from")) == (split.test_fraction, split.test_from)
        (same if by_rule else other).update(subjects)
        examples.update(dict.fromkeys(tested.column("fingerprint").to_pylist(), short(manifest["fingerprint"])))
    return EarlierTests(frozenset(same), frozenset(other), examples)


def stored_manifests(root: Path, salt: str) -> Iterator[tuple[dict[str, Any], Path]]:
    """Manifest and folder of every stored set of a salt, sorted by name. Raises InstructionSetError."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != ".") if root.is_dir() else []
    for folder in folders:
        try:
            manifest = _read_manifest(folder)
            is_of_salt = manifest["facts"].get("split_salt") == salt
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            raise _unreadable(folder) from None
        if is_of_salt:
            yield manifest, folder


def read_replayable(root: Path, recipe: str, salt: str, scrubber_version: str) -> list[SetExample]:
    """Distinct train examples of all stored sets of the recipe, with their provenance.

    Sets with an erased subject are skipped. Raises InstructionSetError if a set was changed after it was written.
    """
    found: dict[str, SetExample] = {}
    for manifest, folder in stored_manifests(root, salt):
        if manifest["facts"].get("recipe") == recipe and (folder / PROVENANCE).is_file():
            stored = read_instruction_set(root, manifest["fingerprint"])
            for example in _train_examples(stored.folder):
                if example.scrubber_version == scrubber_version:
                    found.setdefault(example.fingerprint, example)
    return [found[fingerprint] for fingerprint in sorted(found)]


def filter_replayable(
    examples: Iterable[SetExample], drop_reason: Callable[[SetExample], str | None]
) -> tuple[list[SetExample], list[DroppedExample]]:
    """Split into examples that may be replayed and dropped ones, by `drop_reason`."""
    kept: list[SetExample] = []
    dropped: list[DroppedExample] = []
    for example in examples:
        reason = drop_reason(example)
        if reason is None:
            kept.append(example)
        else:
            dropped.append(DroppedExample(example.example_id, reason))
    return kept, dropped


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, or the record of a set with an erased subject, whose remaining test rows are in `remaining.parquet`."""
    erased = read_erased_set(folder)
    if erased is not None:
        return {"fingerprint": erased.fingerprint, "facts": erased.facts}
    return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))


def _read_test_rows(folder: Path) -> pa.Table:
    rows = REMAINING_FILE if read_erased_set(folder) is not None else TABLE
    try:
        table = pq.read_table(folder / rows, columns=["split", "subject_key", "fingerprint"])
    except (OSError, pa.ArrowInvalid):
        raise _unreadable(folder) from None
    return table.filter(pc.equal(table.column("split"), "test"))


def _unreadable(folder: Path) -> InstructionSetError:
    return InstructionSetError(
        f"The stored instruction set {folder.name} can't be read, so its test subjects are unknown. Restore its folder, or "
        "delete it if you know that no subject of its test split is in the training data."
    )


def _train_examples(folder: Path) -> Iterator[SetExample]:
    """The train examples without general data. Both files hold the train rows in the same order."""
    provenance = conform(pq.read_table(folder / PROVENANCE), ProvenanceRow.SCHEMA)
    train: pa.Table = provenance.filter(pc.equal(provenance.column("split"), "train"))
    contents = json.loads((folder / ALPACA).read_text(encoding="utf-8"))
    if train.num_rows != len(contents):
        raise InstructionSetError(
            f"The stored instruction set {folder.name} has other rows in {ALPACA} than in {PROVENANCE}. Restore its folder."
        )
    for row, content in zip(iter_records(ProvenanceRow, train), contents, strict=True):
        if row.subject_key is not None:
            yield replayed_example(row, content["instruction"], content["input"], content["output"])
