"""Imports a data set in its role: as general data, or as drafts. Used by the command and by the drop folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fine_tune_assets.core.paths import Layout
from fine_tune_assets.dataset_files.confined_dataset import open_confined_dataset
from fine_tune_assets.dataset_files.dataset_reader import Dataset
from fine_tune_assets.dataset_files.dataset_rows import DatasetCounts
from fine_tune_assets.dataset_files.row_reports import refuse_unusable
from fine_tune_assets.instructions import general_imports
from fine_tune_assets.reports import dataset_batches

Role = Literal["general", "drafts"]


@dataclass(frozen=True)
class WantedImport:
    """How a data set is to be used."""

    role: Role
    name: str
    source: str
    licence: str
    row_format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    subject_column: str | None = None


@dataclass(frozen=True)
class ImportedDataset:
    dataset: Dataset
    counts: DatasetCounts
    folder: Path


def import_dataset(layout: Layout, path: Path, wanted: WantedImport, *, is_dry_run: bool) -> ImportedDataset:
    """Import all rows that can be used, or none. Raises DatasetError, GeneralDataError or DraftImportError."""
    run = _import_drafts if wanted.role == "drafts" else _import_general_data
    return run(layout, path, wanted, is_dry_run)


def _import_general_data(layout: Layout, path: Path, wanted: WantedImport, is_dry_run: bool) -> ImportedDataset:
    source, licence = (" ".join(text.split()) for text in (wanted.source, wanted.licence))
    place = general_imports.GeneralImport(layout.general_data, wanted.name, source, licence)
    general_imports.require_importable(place)
    dataset = open_confined_dataset(path, wanted.row_format, wanted.columns)
    if is_dry_run:
        counts = DatasetCounts().count(dataset.rows())
        general_imports.require_rows(counts)
    else:
        counts = general_imports.import_general_data(dataset, place)
    return ImportedDataset(dataset, counts, place.folder)


def _import_drafts(layout: Layout, path: Path, wanted: WantedImport, is_dry_run: bool) -> ImportedDataset:
    source, licence = (" ".join(text.split()) for text in (wanted.source, wanted.licence))
    place = dataset_batches.DraftImport(layout.raw_reports, wanted.name, source, licence)
    dataset_batches.require_importable(place)
    dataset = open_confined_dataset(path, wanted.row_format, wanted.columns, wanted.subject_column)
    if is_dry_run:
        counts = DatasetCounts().count(refuse_unusable(dataset.rows()))
        dataset_batches.require_rows(counts)
    else:
        counts = dataset_batches.import_drafts(dataset, place)
    return ImportedDataset(dataset, counts, place.folder)
