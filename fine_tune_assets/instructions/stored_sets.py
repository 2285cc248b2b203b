"""Keeps instruction sets: a folder each, named by the fingerprint of its content, with exports other trainers read.

Owns the layout below and that a set which was changed is refused:

    <short fingerprint>/instruction_set.parquet   what we train and test on
                        provenance.parquet        report, approval and scrubber behind each of its rows
                        train.alpaca.json, <split>.chatml.jsonl, <split>.sharegpt.jsonl      for other trainers
                        dataset_info.json, axolotl.yaml    how LLaMA-Factory and Axolotl read these
                        README.md                 the dataset card
                        manifest.json             facts, evidence, counts, the leakage certificate, the hash of each file

A set's name is the fingerprint of its table, of the facts that decide it and of the evidence it stands on. So another decision
on the same content is another set, and none is trained for it: see docs/decisions/0016.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.erased_sets import read_erased
from fine_tune_assets.core.errors import FineTuneError, GateClosedError, materialize_hint
from fine_tune_assets.core.files import folder_written_aside, write_table, write_text
from fine_tune_assets.core.fingerprints import fingerprint_files, fingerprint_json, fingerprint_table, short
from fine_tune_assets.instructions.assembly import InstructionSet
from fine_tune_assets.instructions.certificate import LeakageCertificate, leakage_certificate
from fine_tune_assets.instructions.exports import CARD, dataset_card, exports, licence_table
from fine_tune_assets.instructions.leaks import LeakSearch
from fine_tune_assets.instructions.provenance import summary
from fine_tune_assets.tables.instructions import InstructionRow, ProvenanceRow
from fine_tune_assets.tables.records import check_table, conform

TABLE = "instruction_set.parquet"
PROVENANCE = "provenance.parquet"
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
    """Of the table, of the facts that decide it, and of its evidence: 64 characters."""
    folder: Path
    manifest: dict[str, Any]

    @property
    def table(self) -> pa.Table:
        # Parquet names the element of a list otherwise than the schema does; the cast gives the schema's name back.
        table = pq.read_table(self.folder / TABLE).cast(InstructionRow.SCHEMA)
        check_table(table, InstructionRow.SCHEMA)
        return table

    @property
    def provenance(self) -> pa.Table | None:
        """None where its file is gone."""
        path = self.folder / PROVENANCE
        return conform(pq.read_table(path), ProvenanceRow.SCHEMA) if path.is_file() else None


def write_instruction_set(
    root: Path,
    instruction_set: InstructionSet,
    facts: Mapping[str, Any],
    search: LeakSearch | None,
    evidence: Mapping[str, Any] | None = None,
) -> StoredInstructionSet:
    """Write the set below `root`, or find it there. `facts` and `evidence` are JSON without clock or path: facts decide the
    content, evidence is what else is known of it.

    Raises LeakageError if its certificate, which is computed anew from what is to be written, does not hold, and
    ErasedInstructionSetError if just this set was erased; then nothing is written.
    """
    certificate = leakage_certificate(instruction_set, search)
    if not certificate.holds:
        raise LeakageError(f"The instruction set is not stored. {certificate.paragraph}")
    named: dict[str, Any] = {
        "table_fingerprint": fingerprint_table(instruction_set.table),
        "facts": dict(facts),
        "evidence": {**(evidence or {}), **_own_evidence(instruction_set, certificate)},
    }
    fingerprint = _fingerprint_of(named["table_fingerprint"], named["facts"], named["evidence"])
    _require_not_erased(root / short(fingerprint))
    counts = {
        **certificate.separation.rows,
        "general": sum(instruction_set.table.column("is_general").to_pylist()),
    }
    with folder_written_aside(root / short(fingerprint)) as folder:
        write_table(folder / TABLE, instruction_set.table)
        write_table(folder / PROVENANCE, instruction_set.provenance)
        for name, content in exports(instruction_set):
            write_text(folder / name, content)
        licences = licence_table(instruction_set.table, instruction_set.licences)
        write_text(folder / CARD, dataset_card(fingerprint, facts, counts, licences, certificate.paragraph))
        manifest = {
            **named,
            "fingerprint": fingerprint,
            "counts": counts,
            "leakage_certificate": certificate.paragraph,
            "files": fingerprint_files(folder),
        }
        write_text(folder / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False))
    return read_instruction_set(root, fingerprint)


def _own_evidence(instruction_set: InstructionSet, certificate: LeakageCertificate) -> dict[str, Any]:
    return {
        **summary(instruction_set.provenance),
        "provenance_fingerprint": fingerprint_table(instruction_set.provenance),
        "general_licences": dict(sorted(instruction_set.licences.items())),
        "leakage": certificate.figures,
    }


def read_instruction_set(root: Path, fingerprint: str) -> StoredInstructionSet:
    """Read a set by its fingerprint, full or short, and verify all that it holds. Raises InstructionSetError."""
    folder = root / short(fingerprint)
    _require_not_erased(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InstructionSetError(
            f"There is no instruction set {short(fingerprint)}. {materialize_hint('instruction_sets')}"
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
            "trained, judged, merged or released on it any more. The next training is without. " + materialize_hint()
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
    evidence = manifest.get("evidence") or {}
    named = _fingerprint_of(manifest["table_fingerprint"], manifest.get("facts", {}), evidence)
    if named != stored.fingerprint or not stored.fingerprint.startswith(wanted):
        raise _changed(wanted, MANIFEST)
    provenance = stored.provenance
    if provenance is None or fingerprint_table(provenance) != evidence.get("provenance_fingerprint"):
        raise _changed(wanted, PROVENANCE)


def _changed(fingerprint: str, name: str) -> InstructionSetError:
    return InstructionSetError(
        f"Instruction set {short(fingerprint)} was changed after it was written: {name} is not what the manifest says. "
        f"Delete its folder. {materialize_hint('instruction_sets')}"
    )


def _fingerprint_of(table_fingerprint: str, facts: Mapping[str, Any], evidence: Mapping[str, Any]) -> str:
    return fingerprint_json({"table": table_fingerprint, "facts": dict(facts), "evidence": dict(evidence)})
