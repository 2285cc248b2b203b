"""Keeps instruction sets: a folder each, named by the fingerprint of its content, with exports other trainers read.

Owns the layout below and that a set which was changed is refused:

    <short fingerprint>/instruction_set.parquet   what we train and test on
                        train.alpaca.json, <split>.chatml.jsonl, <split>.sharegpt.jsonl      for other trainers
                        README.md                 the dataset card
                        manifest.json             facts, counts, the leakage certificate, the hash of each file
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.erased_sets import read_erased
from fine_tune_assets.core.errors import FineTuneError, GateClosedError
from fine_tune_assets.core.files import folder_written_aside, write_table, write_text
from fine_tune_assets.core.fingerprints import fingerprint_files, fingerprint_json, fingerprint_table, short
from fine_tune_assets.core.tables import INSTRUCTION_SETS, check_table
from fine_tune_assets.instructions.building import InstructionSet
from fine_tune_assets.instructions.certificate import leakage_certificate
from fine_tune_assets.instructions.exporting import CARD, dataset_card, exports

TABLE = "instruction_set.parquet"
MANIFEST = "manifest.json"


class InstructionSetError(FineTuneError):
    """A stored instruction set is missing or was changed."""


class ErasedInstructionSetError(InstructionSetError):
    """An instruction set was removed since it held a patient who was erased."""


class LeakageError(GateClosedError):
    """An instruction set that does not keep training and test data apart."""


@dataclass(frozen=True)
class StoredInstructionSet:
    fingerprint: str
    """Of the table and of the facts that decide it: 64 characters."""
    folder: Path
    manifest: dict[str, Any]

    @property
    def table(self) -> pa.Table:
        return _read_table(self.folder)


def write_instruction_set(
    root: Path, instruction_set: InstructionSet, facts: Mapping[str, Any]
) -> StoredInstructionSet:
    """Write the set below `root`, or find it there. `facts` is JSON that decides the content, without clock or path.

    Raises LeakageError if its certificate does not hold, ErasedInstructionSetError if just this set was erased; then nothing
    is written.
    """
    table = instruction_set.table
    certificate = leakage_certificate(table)
    if not certificate.holds:
        raise LeakageError(f"The instruction set is not stored. {certificate.paragraph}")
    table_fingerprint = fingerprint_table(table)
    fingerprint = _fingerprint_of(table_fingerprint, facts)
    _require_not_erased(root / short(fingerprint))
    with folder_written_aside(root / short(fingerprint)) as folder:
        write_table(folder / TABLE, table)
        for name, content in exports(instruction_set):
            write_text(folder / name, content)
        counts = {**certificate.rows, "general": sum(table.column("is_general").to_pylist())}
        write_text(folder / CARD, dataset_card(fingerprint, facts, counts, certificate.paragraph))
        manifest = {
            "fingerprint": fingerprint,
            "table_fingerprint": table_fingerprint,
            "facts": dict(facts),
            "counts": counts,
            "leakage_certificate": certificate.paragraph,
            "files": fingerprint_files(folder),
        }
        write_text(folder / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False))
    return read_instruction_set(root, fingerprint)


def read_instruction_set(root: Path, fingerprint: str) -> StoredInstructionSet:
    """Read a set by its fingerprint, full or short, and verify all that it holds. Raises InstructionSetError."""
    folder = root / short(fingerprint)
    _require_not_erased(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InstructionSetError(
            f"There is no instruction set {short(fingerprint)}. Materialise instruction_sets to make it."
        ) from error
    except ValueError as error:
        raise _changed(fingerprint, MANIFEST) from error
    stored = StoredInstructionSet(str(manifest.get("fingerprint")), folder, manifest)
    _verify(stored, fingerprint)
    return stored


def _require_not_erased(folder: Path) -> None:
    erased = read_erased(folder)
    if erased is not None:
        raise ErasedInstructionSetError(
            f"Instruction set {folder.name} was removed on {erased.erased_at[:10]}: it held a patient who was erased. Nothing is "
            "trained, judged, merged or released on it any more. The next training is without: fine-tune materialize"
        )


def _verify(stored: StoredInstructionSet, wanted: str) -> None:
    manifest = stored.manifest
    files = {name: found for name, found in fingerprint_files(stored.folder).items() if name != MANIFEST}
    expected = manifest.get("files", {})
    for name in sorted(set(files) | set(expected)):
        if files.get(name) != expected.get(name):
            raise _changed(wanted, name)
    if fingerprint_table(stored.table) != manifest.get("table_fingerprint"):
        raise _changed(wanted, TABLE)
    is_intact = _fingerprint_of(manifest["table_fingerprint"], manifest.get("facts", {})) == stored.fingerprint
    if not is_intact or not stored.fingerprint.startswith(wanted):
        raise _changed(wanted, MANIFEST)


def _changed(fingerprint: str, name: str) -> InstructionSetError:
    return InstructionSetError(
        f"Instruction set {short(fingerprint)} was changed after it was written: {name} is not what the manifest says. "
        "Delete its folder and materialise instruction_sets again."
    )


def _fingerprint_of(table_fingerprint: str, facts: Mapping[str, Any]) -> str:
    return fingerprint_json({"table": table_fingerprint, "facts": dict(facts)})


def _read_table(folder: Path) -> pa.Table:
    # Parquet names the element of a list otherwise than the schema does; the cast gives the schema's name back.
    table = pq.read_table(folder / TABLE).cast(INSTRUCTION_SETS)
    check_table(table, INSTRUCTION_SETS)
    return table
