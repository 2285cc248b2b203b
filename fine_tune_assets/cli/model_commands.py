"""`fine-tune models`: import and list base models."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fine_tune_assets.cli.output import json_option, show_json, show_message
from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.training.base_models.model_facts import ModelFacts, read_model_facts
from fine_tune_assets.training.base_models.registration import BaseModel, read_source
from fine_tune_assets.training.capabilities import Capability, list_capabilities


@click.group()
def models() -> None:
    """Import and list base models."""


@models.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--name", default="", help="Name; default: name of the file or folder.")
@click.option("--licence", default="", help="SPDX id; default: what the model states.")
@click.option("--source", default="", help="Origin of the model, in words.")
def import_command(path: Path, name: str, licence: str, source: str) -> None:
    """Import a base model.

    PATH is a Hugging Face folder, an archive of one (ZIP, tar, tar.gz) or a GGUF file. Copies Safetensors weights, JSON and text
    files after checking each; lists the files that it skips. Downloads nothing.
    """
    from fine_tune_assets.training.base_models import model_imports

    console, layout = Console(), load_settings().layout
    with console.status(f"Reading {path.name}"):
        imported = model_imports.import_model(path, layout.base_models, name, licence, source)
    console.print(_facts(imported.model))
    console.print(_uses(list_capabilities(read_model_facts(imported.folder))))
    if imported.skipped_files:
        console.print(f"Skipped, because no engine needs it: {_listed(imported.skipped_files)}.", markup=False)
    console.print("\nIn a recipe:", style="bold")
    folder = imported.folder.relative_to(layout.data_dir)
    click.echo(f"base_model:\n  name: {imported.model.name}\n  folder: {folder}")


@models.command("list")
@json_option
def list_command(is_json: bool) -> None:
    """List base models and engine support."""
    console, layout, found = Console(), load_settings().layout, []
    for folder in sorted(p for p in layout.base_models.glob("[!.]*") if p.is_dir()):
        row: dict[str, Any] = {"folder": str(folder.relative_to(layout.data_dir))}
        try:
            facts, source = read_model_facts(folder), read_source(folder)
        except (ModelFolderError, OSError, ValueError) as error:
            found.append(row | {"error": str(error)})
            continue
        origin = {"licence": source.get("licence", "not stated"), "source": source.get("source", "not imported here")}
        found.append(row | origin | {"facts": facts, "capabilities": list_capabilities(facts)})
    if is_json:
        show_json([_as_json(row) for row in found])
    for row in () if is_json else found:
        console.print(row["folder"], style="bold", markup=False)
        if "error" in row:
            console.print(f"unusable: {row['error']}", markup=False)
            continue
        console.print(f"{_short_facts(row['facts'])}; licence {row['licence']}; {row['source']}", markup=False)
        console.print(_uses(row["capabilities"]))
    if not found and not is_json:
        show_message("There are no base models. Run `fine-tune models import PATH`.")


def _as_json(row: Mapping[str, Any]) -> dict[str, object]:
    if "facts" not in row:
        return dict(row)
    return {**row, "facts": asdict(row["facts"]), "capabilities": [asdict(use) for use in row["capabilities"]]}


def _short_facts(facts: ModelFacts) -> str:
    context = f"{facts.context_tokens:,} tokens of context" if facts.context_tokens else "context not stated"
    return f"{facts.architecture}, {facts.parameters / 1e6:,.0f} million weights in {facts.dtype}, {context}"


def _facts(model: BaseModel) -> Table:
    table = Table("fact", "value", title=model.name)
    for fact, value in (
        ("architecture", model.architecture),
        ("weights", f"{model.parameter_count:,} in {model.dtype}"),
        ("context", f"{model.context_tokens:,} tokens" if model.context_tokens else "not stated"),
        ("vocabulary", f"{model.vocabulary_size:,} tokens" if model.vocabulary_size else "not stated"),
        ("embeddings", "shared with the output layer" if model.has_tied_embeddings else "separate"),
        ("stop tokens", " ".join(model.stop_tokens) or "not stated"),
        ("licence", model.licence),
        ("source", model.source),
        ("fingerprint", model.fingerprint),
    ):
        table.add_row(fact, escape(value))
    return table


def _uses(found: Sequence[Capability]) -> Table:
    table = Table("use", "engine", "supported", "notes")
    for use in found:
        table.add_row(use.operation, use.engine, "yes" if use.is_supported else "no", escape(use.reason))
    return table


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
