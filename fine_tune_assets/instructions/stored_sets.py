"""Stores instruction sets, one folder per set, named by the fingerprint of its content. Changed sets are refused on reading.

Layout:

    <short fingerprint>/instruction_set.parquet   the rows for training and testing
                        provenance.parquet        report, approval and scrubber of each row
                        train.alpaca.json, <split>.chatml.jsonl, <split>.sharegpt.jsonl      for other trainers
                        dataset_info.json, axolotl.yaml    configuration for LLaMA-Factory and Axolotl
                        README.md                 the dataset card
                        manifest.json             facts, evidence, counts, leakage certificate, hash of each file

A set's name is the fingerprint of its table, the facts that decide it and its evidence. Another decision on the same content is
therefore another set (docs/decisions/0008-instruction-sets.md).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.erased_sets import read_erased_set
from fine_tune_assets.core.errors import FineTuneError, GateClosedError, materialize_hint
from fine_tune_assets.core.files import atomic_folder, write_table, write_text
from fine_tune_assets.core.fingerprints import fingerprint_files, fingerprint_json, fingerprint_table, short
from fine_tune_assets.instructions.assembly import InstructionSet
from fine_tune_assets.instructions.certificate import LeakageCertificate, issue_certificate
from fine_tune_assets.instructions.leakage import LeakSearch
from fine_tune_assets.instructions.provenance import summarize_provenance
from fine_tune_assets.instructions.set_exports import CARD, dataset_card, export_files, licence_table
from fine_tune_assets.tables.instruction_rows import InstructionRow, ProvenanceRow
from fine_tune_assets.tables.record_classes import check_table, conform

TABLE = "instruction_set.parquet"
PROVENANCE = "provenance.parquet"
MANIFEST = "manifest.json"


class InstructionSetError(FineTuneError):
    """A stored instruction set is missing or was changed."""


class ErasedInstructionSetError(InstructionSetError):
    """The instruction set was removed, because it contained an erased subject."""


class LeakageError(GateClosedError):
    """The instruction set does not separate training and test data."""


@dataclass(frozen=True)
class StoredInstructionSet:
    fingerprint: str
    """64 characters, of the table, the facts that decide it and its evidence."""
    folder: Path
    manifest: dict[str, Any]

    @property
    def table(self) -> pa.Table:
        # Parquet renames the list element; the cast restores the schema's name.
        table = pq.read_table(self.folder / TABLE).cast(InstructionRow.SCHEMA)
        check_table(table, InstructionRow.SCHEMA)
        return table

    @property
    def provenance(self) -> pa.Table | None:
        """None if the file is missing."""
        path = self.folder / PROVENANCE
        return conform(pq.read_table(path), ProvenanceRow.SCHEMA) if path.is_file() else None


def write_instruction_set(
    root: Path,
    instruction_set: InstructionSet,
    facts: Mapping[str, Any],
    search: LeakSearch | None,
    evidence: Mapping[str, Any] | None = None,
) -> StoredInstructionSet:
    """Write the set below `root` unless it exists. `facts` and `evidence` are JSON without times or paths: facts decide the
    content, evidence describes it.

    Raises LeakageError if the certificate, computed again from the rows to write, is invalid, and ErasedInstructionSetError if
    this very set was erased. Nothing is written then.
    """
    certificate = issue_certificate(instruction_set, search)
    if not certificate.is_valid:
        raise LeakageError(f"The instruction set was not stored. {certificate.paragraph}")
    named: dict[str, Any] = {
        "table_fingerprint": fingerprint_table(instruction_set.table),
        "facts": dict(facts),
        "evidence": {**(evidence or {}), **_set_evidence(instruction_set, certificate)},
    }
    fingerprint = _set_fingerprint(named["table_fingerprint"], named["facts"], named["evidence"])
    _require_not_erased(root / short(fingerprint))
    counts = {
        **certificate.separation.rows,
        "general": sum(instruction_set.table.column("is_general").to_pylist()),
    }
    with atomic_folder(root / short(fingerprint)) as folder:
        write_table(folder / TABLE, instruction_set.table)
        write_table(folder / PROVENANCE, instruction_set.provenance)
        for name, content in export_files(instruction_set):
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


def _set_evidence(instruction_set: InstructionSet, certificate: LeakageCertificate) -> dict[str, Any]:
    return {
        **summarize_provenance(instruction_set.provenance),
        "provenance_fingerprint": fingerprint_table(instruction_set.provenance),
        "general_licences": dict(sorted(instruction_set.licences.items())),
        "leakage": certificate.facts,
    }


def read_instruction_set(root: Path, fingerprint: str) -> StoredInstructionSet:
    """Read a set by its full or short fingerprint and verify every file. Raises InstructionSetError."""
    folder = root / short(fingerprint)
    _require_not_erased(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InstructionSetError(
            f"Instruction set {short(fingerprint)} does not exist. {materialize_hint('instruction_sets')}"
        ) from error
    except ValueError as error:
        raise _changed_error(fingerprint, MANIFEST) from error
    stored = StoredInstructionSet(str(manifest.get("fingerprint")), folder, manifest)
    _verify(stored, fingerprint)
    return stored


def _require_not_erased(folder: Path) -> None:
    erased = read_erased_set(folder)
    if erased is not None:
        raise ErasedInstructionSetError(
            f"Instruction set {folder.name} was removed on {erased.erased_at[:10]}, because it contained an erased subject. It "
            "can no longer be trained, judged, merged or released. The next set excludes the subject. "
            + materialize_hint()
        )


def _verify(stored: StoredInstructionSet, wanted: str) -> None:
    manifest = stored.manifest
    files = {name: found for name, found in fingerprint_files(stored.folder).items() if name != MANIFEST}
    expected = manifest.get("files", {})
    for name in sorted(set(files) | set(expected)):
        if files.get(name) != expected.get(name):
            raise _changed_error(wanted, name)
    if fingerprint_table(stored.table) != manifest.get("table_fingerprint"):
        raise _changed_error(wanted, TABLE)
    evidence = manifest.get("evidence") or {}
    named = _set_fingerprint(manifest["table_fingerprint"], manifest.get("facts", {}), evidence)
    if named != stored.fingerprint or not stored.fingerprint.startswith(wanted):
        raise _changed_error(wanted, MANIFEST)
    provenance = stored.provenance
    if provenance is None or fingerprint_table(provenance) != evidence.get("provenance_fingerprint"):
        raise _changed_error(wanted, PROVENANCE)


def _changed_error(fingerprint: str, name: str) -> InstructionSetError:
    return InstructionSetError(
        f"Instruction set {short(fingerprint)} was changed after it was written: {name} differs from the manifest. "
        f"Delete its folder. {materialize_hint('instruction_sets')}"
    )


def _set_fingerprint(table_fingerprint: str, facts: Mapping[str, Any], evidence: Mapping[str, Any]) -> str:
    return fingerprint_json({"table": table_fingerprint, "facts": dict(facts), "evidence": dict(evidence)})
