"""`fine-tune datasets`: check data sets of other tools, import them as general data or drafts, and list what is imported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from fine_tune_assets.cli.output import json_option, show_json, show_rows
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.dataset_files.confined_dataset import open_confined_dataset
from fine_tune_assets.dataset_files.dataset_reader import Dataset
from fine_tune_assets.dataset_files.dataset_rows import DatasetCounts
from fine_tune_assets.dataset_files.row_formats import FORMATS
from fine_tune_assets.dataset_files.row_reports import refuse_unusable
from fine_tune_assets.instructions import general_imports
from fine_tune_assets.reports import dataset_batches

Role = Literal["general", "drafts"]
_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group()
def datasets() -> None:
    """Import existing data sets."""


def _read_columns(_context: click.Context, _option: click.Parameter, value: str | None) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in value.split(",")] if value else []
    if any(not name or not theirs for name, _, theirs in pairs):
        raise click.BadParameter("use NAME=COLUMN pairs, such as instruction=question,output=answer")
    return {name.strip(): theirs.strip() for name, _, theirs in pairs}


def _dataset_options(command: _Command) -> _Command:
    """PATH, `--format` and `--columns`."""
    for add in (
        click.option("--columns", callback=_read_columns, help="Columns by name: instruction=Q,output=A."),
        click.option("--format", "row_format", type=click.Choice(list(FORMATS)), help="Format, if several fit."),
        click.argument("path", type=click.Path(exists=True, path_type=Path)),
    ):
        command = add(command)
    return command


@datasets.command()
@_dataset_options
@json_option
def check(path: Path, row_format: str | None, columns: dict[str, str], is_json: bool) -> None:
    """Count what a data set contains.

    PATH is a file or folder of JSON Lines, JSON, CSV, TSV, Parquet or Arrow files, also gzipped. Nothing is stored. The exit
    status is 1 if rows are refused.
    """
    dataset = open_confined_dataset(path, row_format, columns)
    counts = DatasetCounts().count(dataset.rows())
    _show(dataset, counts, is_json=is_json)
    if counts.refused:
        raise SystemExit(1)


@datasets.command("import")
@_dataset_options
@click.option("--as", "role", type=click.Choice(["general", "drafts"]), default="general", help="Use of the rows.")
@click.option("--name", help="Name of the new folder; default: the source.")
@click.option("--source", help="Origin of the data set; default: the name.")
@click.option("--licence", default="", help="Licence; required for general data.")
@click.option("--subject", "subject_column", help="Column with a draft's subject.")
@click.option("--dry-run", is_flag=True, help="Only count; write nothing.")
@json_option
def import_command(
    path: Path,
    row_format: str | None,
    columns: dict[str, str],
    role: Role,
    name: str | None,
    source: str | None,
    licence: str,
    subject_column: str | None,
    dry_run: bool,
    is_json: bool,
) -> None:
    """Import a data set in one of two roles.

    General data goes to data/general/NAME, from where a recipe mixes it in by weight. Preference pairs are kept for later use.
    Drafts go to data/raw_reports/NAME, a batch of reports that is scrubbed and reviewed like any other; a task of the kind `rows`
    drafts them. Without --subject, each row is its own subject. Refused rows are listed in `refused.csv`.
    """
    if name is None and source is None:
        raise click.UsageError("State --name or --source.")
    if role == "general" and (not licence.strip() or subject_column):
        raise click.UsageError("General data needs --licence, and has no --subject.")
    wanted = WantedImport(
        role, name or source or "", source or name or "", licence, row_format, columns, subject_column
    )
    done = import_dataset(load_settings().layout, path, wanted, is_dry_run=dry_run)
    _show(done.dataset, done.counts, is_json=is_json, name=wanted.name, folder=None if dry_run else done.folder)


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


@datasets.command("list")
@json_option
def list_command(is_json: bool) -> None:
    """List the sources of general data."""
    from fine_tune_assets.instructions.general_data import list_sources

    rows = [
        {
            "name": one.folder.name,
            "mix_source": one.mix_source,
            "source": one.source,
            "licence": one.licence,
            "format": one.format,
            "rows": one.count_rows(),
            "preference_pairs": one.count_preference_pairs(),
        }
        for one in list_sources(load_settings().layout.general_data)
    ]
    headers = {"name": "name", "mix_source": "in the mix", **{n: n for n in ("source", "licence", "format", "rows")}}
    empty = "No general data found. Import some with `fine-tune datasets import`."
    show_rows(rows, {**headers, "preference_pairs": "preference pairs"}, is_json=is_json, empty=empty)


def _show(dataset: Dataset, counts: DatasetCounts, *, is_json: bool, **more: object) -> None:
    files = [{"file": one.name, "kind": one.kind.name, "format": one.format} for one in dataset.files]
    if is_json:
        show_json({**more, "files": files, "ignored_files": list(dataset.ignored), **counts.facts})
        return
    show_rows(files, {"file": "file", "kind": "kind", "format": "format"}, is_json=False)
    refused = sum(counts.refused.values())
    click.echo(
        f"{counts.rows} rows: {counts.single_turn} single-turn and {counts.multi_turn} multi-turn conversations, "
        f"{counts.preference_pairs} preference pairs, {refused} refused."
    )
    if counts.preference_pairs and more.get("folder"):
        click.echo(f"Kept for later use: {counts.preference_pairs} pairs")
    for reason, count in counts.refused.most_common():
        click.echo(f"Refused: {count} {reason}")
    click.echo(f"Longest question: {counts.longest_question} characters; answer: {counts.longest_answer}.")
    if dataset.ignored:
        click.echo(f"Ignored files: {len(dataset.ignored)}")
    if more.get("folder"):
        click.echo(f"Imported to {more['folder']}")
