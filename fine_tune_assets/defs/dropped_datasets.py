"""Imports data sets from the drop folder `data/datasets/incoming`: a file or folder, and a YAML file that states its role.

An imported data set moves to `data/datasets/imported`, a faulty one to `data/datasets/quarantine` with `reason.txt`. One without
its YAML file waits. Calls no Dagster.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import file_lock, make_folder, write_text
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.strict_parsing import load_values
from fine_tune_assets.defs.dataset_imports import Role, WantedImport, import_dataset

REASON_FILE = "reason.txt"
_UNFINISHED = (".partial", ".tmp")
_YAML = ".yaml"
_STRICT = ConfigDict(extra="forbid")


class DropError(FineTuneError):
    """The YAML file of a dropped data set is invalid."""


@validated(frozen=True, config=_STRICT)
class DropFacts:
    """The keys of the YAML file, which mean the same as the options of `fine-tune datasets import`."""

    role: Role
    name: str = ""
    source: str = ""
    licence: str = ""
    format: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    subject: str | None = None


@dataclass(frozen=True)
class Drop:
    path: Path
    facts_file: Path


@dataclass(frozen=True)
class DropOutcome:
    name: str
    rows: int | None
    """Rows that were imported; None if the data set is in quarantine."""
    moved_to: Path


@dataclass(frozen=True)
class Incoming:
    ready: tuple[Drop, ...]
    waiting: int
    """Files and folders without a YAML file."""

    @property
    def version(self) -> str:
        """Changes with every file of the ready data sets."""
        return fingerprint_json([_stamp(path) for drop in self.ready for path in (drop.path, drop.facts_file)])


def list_incoming(layout: Layout) -> Incoming:
    """The data sets in the drop folder. Hidden and unfinished entries and links are ignored."""
    entries = list(_list_entries(layout.incoming_datasets))
    facts_files = {path.name: path for path in entries if path.suffix == _YAML and path.is_file()}
    data = [path for path in entries if path.name not in facts_files]
    ready: list[Drop] = []
    for path in data:
        names = (path.name + _YAML, path.name.partition(".")[0] + _YAML)
        found = next((facts_files.pop(name) for name in names if name in facts_files), None)
        if found is not None:
            ready.append(Drop(path, found))
    return Incoming(tuple(ready), len(data) - len(ready))


def import_incoming(layout: Layout) -> list[DropOutcome]:
    """Import or quarantine every ready data set. Raises OSError if the disk fails; then the rest waits."""
    if not list_incoming(layout).ready:
        return []
    with file_lock(layout.run / "dropped_datasets.lock"):
        return [_import_one(layout, drop) for drop in list_incoming(layout).ready]


def _import_one(layout: Layout, drop: Drop) -> DropOutcome:
    try:
        wanted = _read_facts(drop)
        done = import_dataset(layout, drop.path, wanted, is_dry_run=False)
    except FineTuneError as error:
        return DropOutcome(drop.path.name, None, _move(layout, drop, "quarantine", str(error)))
    imported = done.counts.conversations + done.counts.preference_pairs
    return DropOutcome(drop.path.name, imported, _move(layout, drop, "imported", ""))


def _read_facts(drop: Drop) -> WantedImport:
    where = drop.facts_file.name
    try:
        facts = TypeAdapter(DropFacts).validate_python(load_values(drop.facts_file.read_text(encoding="utf-8")))
    except ValidationError as error:
        keys = ", ".join(sorted({str(fault["loc"][0]) if fault["loc"] else "the file" for fault in error.errors()}))
        known = ", ".join(DropFacts.__dataclass_fields__)
        raise DropError(f"{where}: wrong or missing: {keys}. Known keys: {known}; role is general or drafts.") from None
    except (ValueError, yaml.YAMLError):
        raise DropError(f"{where} is not valid UTF-8 YAML, or repeats a key.") from None
    if facts.role == "general" and (not facts.licence.strip() or facts.subject):
        raise DropError(f"{where}: general data needs licence, and has no subject.")
    name = facts.name or re.sub(r"[^a-z0-9_-]+", "-", drop.path.name.partition(".")[0].casefold())
    return WantedImport(
        facts.role, name, facts.source or name, facts.licence, facts.format, facts.columns, facts.subject
    )


def _move(layout: Layout, drop: Drop, outcome: str, reason: str) -> Path:
    """Move the data set and its YAML file to a new folder."""
    folder = _new_folder(layout.datasets / outcome, drop.path.name)
    if reason:
        write_text(folder / REASON_FILE, reason + "\n")
    # The data first: after an interruption, a YAML file alone does nothing. `move` also works between file systems.
    for path in (drop.path, drop.facts_file):
        shutil.move(path, folder / path.name)
    return folder


def _new_folder(parent: Path, name: str) -> Path:
    make_folder(parent)
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return folder


def _list_entries(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.name.startswith(".") and not path.name.endswith(_UNFINISHED) and not path.is_symlink():
            yield path


def _stamp(path: Path) -> list[Any]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [[file.name, file.lstat().st_size, file.lstat().st_mtime_ns] for file in files]
