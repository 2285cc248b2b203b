"""What earlier stored sets say: who was tested, on what, and what was trained on that the present set no longer has.

Owns reading them, and what may be replayed: rows of training whose text the present scrubber left, and of which nobody says why
not. Only sets of the same salt count: another salt is another product line. Every set of it has to be readable, since a gap in
the evidence would let an old exam into training.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.erased_sets import REMAINING, read_erased
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.instructions.assembly import Dropped
from fine_tune_assets.instructions.exports import ALPACA
from fine_tune_assets.instructions.set_examples import SetExample, earlier_example
from fine_tune_assets.instructions.splits import EarlierTests
from fine_tune_assets.instructions.stored_sets import (
    MANIFEST,
    PROVENANCE,
    TABLE,
    InstructionSetError,
    read_instruction_set,
)
from fine_tune_assets.recipes.schema import SplitSettings
from fine_tune_assets.tables.instructions import ProvenanceRow
from fine_tune_assets.tables.records import conform, records_of


def earlier_tests(root: Path, split: SplitSettings, besides: str = "") -> EarlierTests:
    """Of every set below `root` with the salt of `split`, but the one named `besides`. Raises InstructionSetError."""
    same: set[str] = set()
    other: set[str] = set()
    examples: dict[str, str] = {}
    for manifest, folder in stored_manifests(root, split.salt):
        if manifest["fingerprint"] == besides:
            continue
        tested = _tested(folder)
        patients = set(tested.column("patient_key").to_pylist()) - {None}
        facts = manifest["facts"]
        by_rule = (facts.get("test_fraction"), facts.get("test_from")) == (split.test_fraction, split.test_from)
        (same if by_rule else other).update(patients)
        examples.update(dict.fromkeys(tested.column("fingerprint").to_pylist(), short(manifest["fingerprint"])))
    return EarlierTests(frozenset(same), frozenset(other), examples)


def stored_manifests(root: Path, salt: str) -> Iterator[tuple[dict[str, Any], Path]]:
    """Manifest and folder of every stored set of a salt, in the order of their names. Raises InstructionSetError."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != ".") if root.is_dir() else []
    for folder in folders:
        try:
            manifest = _manifest(folder)
            is_of_salt = manifest["facts"].get("split_salt") == salt
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            raise _unreadable(folder) from None
        if is_of_salt:
            yield manifest, folder


def read_replayable(root: Path, recipe: str, salt: str, scrubber_version: str) -> list[SetExample]:
    """Train examples of all stored sets of the recipe, each content once, with their provenance.

    What is left of a set that held an erased patient gives nothing. Raises InstructionSetError if a set was changed after it was
    written.
    """
    found: dict[str, SetExample] = {}
    for manifest, folder in stored_manifests(root, salt):
        if manifest["facts"].get("recipe") == recipe and (folder / PROVENANCE).is_file():
            stored = read_instruction_set(root, manifest["fingerprint"])
            for example in _train_examples(stored.folder):
                if example.scrubber_version == scrubber_version:
                    found.setdefault(example.fingerprint, example)
    return [found[fingerprint] for fingerprint in sorted(found)]


def sort_out(
    examples: Iterable[SetExample], why_not: Callable[[SetExample], str | None]
) -> tuple[list[SetExample], list[Dropped]]:
    """The examples that may be replayed, and those that may not, each with the reason that `why_not` gives."""
    kept: list[SetExample] = []
    dropped: list[Dropped] = []
    for example in examples:
        reason = why_not(example)
        if reason is None:
            kept.append(example)
        else:
            dropped.append(Dropped(example.example_id, reason))
    return kept, dropped


def _manifest(folder: Path) -> dict[str, Any]:
    """Of a set that held a patient who was erased, what is left of it: whom it tested besides is in `remaining.parquet`."""
    erased = read_erased(folder)
    if erased is not None:
        return {"fingerprint": erased.fingerprint, "facts": erased.facts}
    return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))


def _tested(folder: Path) -> pa.Table:
    rows = REMAINING if read_erased(folder) is not None else TABLE
    try:
        table = pq.read_table(folder / rows, columns=["split", "patient_key", "fingerprint"])
    except (OSError, pa.ArrowInvalid):
        raise _unreadable(folder) from None
    return table.filter(pc.equal(table.column("split"), "test"))


def _unreadable(folder: Path) -> InstructionSetError:
    return InstructionSetError(
        f"The stored instruction set {folder.name} can't be read, so nobody can say whom it tested on. Restore its folder; or "
        "delete it, if you know that no patient of its test split is trained on now."
    )


def _train_examples(folder: Path) -> Iterator[SetExample]:
    """Each train example that is not general. Both files hold the train rows in the set's order."""
    provenance = conform(pq.read_table(folder / PROVENANCE), ProvenanceRow.SCHEMA)
    train: pa.Table = provenance.filter(pc.equal(provenance.column("split"), "train"))
    contents = json.loads((folder / ALPACA).read_text(encoding="utf-8"))
    if train.num_rows != len(contents):
        raise InstructionSetError(f"The stored instruction set {folder.name} has not the same rows in {ALPACA}.")
    for row, content in zip(records_of(ProvenanceRow, train), contents, strict=True):
        if row.patient_key is not None:
            yield earlier_example(row, content["instruction"], content["input"], content["output"])
