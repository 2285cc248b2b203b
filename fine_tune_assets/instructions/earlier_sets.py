"""What earlier stored sets say: who was tested, on what, and what was trained on that the present set no longer has.

Owns reading them. Only sets of the same salt count: another salt is another product line. Every set of it has to be readable,
since a gap in the evidence would let an old exam into training.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.erased_sets import REMAINING, read_erased
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.instructions.splitting import EarlierTests
from fine_tune_assets.instructions.storing import MANIFEST, TABLE, InstructionSetError
from fine_tune_assets.recipes.schema import SplitSettings


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
        (same if _rule_of_facts(manifest["facts"]) == _rule(split) else other).update(patients)
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


def _rule(split: SplitSettings) -> tuple[Any, ...]:
    return split.test_fraction, split.test_from


def _rule_of_facts(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    return facts.get("test_fraction"), facts.get("test_from")
