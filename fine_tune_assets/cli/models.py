"""`fine-tune import-model` and `fine-tune models`: base models in the data folder.

Owns what is printed. What may come in is decided in training/base_models.
"""

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.training.base_models.facts import ModelFacts, read_facts
from fine_tune_assets.training.base_models.registry import BaseModel, read_source
from fine_tune_assets.training.capabilities import Capability, capabilities


@click.command("import-model")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--name", default="", help="Name for people, and of the folder; that of the file or folder if left out.")
@click.option("--licence", default="", help="SPDX id of the weights' licence; what the model says if left out.")
@click.option("--source", default="", help="Where the model came from, in words.")
def import_model(path: Path, name: str, licence: str, source: str) -> None:
    """Bring a model in: a local Hugging Face folder, an archive of one (ZIP, tar, tar.gz), or a GGUF.

    Copies the files that a model is made of: Safetensors weights, JSON and text, each checked. The rest is named and left out.
    Nothing is downloaded.
    """
    from fine_tune_assets.training.base_models import imports as importing

    console, layout = Console(), load_settings().layout
    with console.status(f"Looking into {path.name}"):
        imported = importing.import_model(path, layout.base_models, name, licence, source)
    console.print(_facts(imported.model))
    console.print(_uses(capabilities(read_facts(imported.folder))))
    if imported.left_out:
        console.print(f"Left out, since no engine here needs it: {_listed(imported.left_out)}.", markup=False)
    console.print("\nName it in a recipe:", style="bold")
    folder = imported.folder.relative_to(layout.data_dir)
    click.echo(f"base_model:\n  name: {imported.model.name}\n  folder: {folder}")


@click.command()
def models() -> None:
    """List the base models in the data folder, and what can be done with each."""
    console, layout = Console(), load_settings().layout
    folders = sorted(p for p in layout.base_models.glob("[!.]*") if p.is_dir())
    if not folders:
        console.print("There is no base model yet. Import one: `fine-tune import-model PATH`.")
        return
    for folder in folders:
        console.print(str(folder.relative_to(layout.data_dir)), style="bold", markup=False)
        try:
            facts, source = read_facts(folder), read_source(folder)
        except (ModelFolderError, OSError, ValueError) as error:
            console.print(f"can't be used: {error}", markup=False)
            continue
        told = source.get("licence", "none stated"), source.get("source", "not imported here")
        console.print(f"{_short_facts(facts)}; licence {told[0]}; {told[1]}", markup=False)
        console.print(_uses(capabilities(facts)))


def _short_facts(facts: ModelFacts) -> str:
    context = f"{facts.context_tokens:,} tokens of context" if facts.context_tokens else "context not stated"
    return f"{facts.architecture}, {facts.parameters / 1e6:,.0f} million weights in {facts.dtype}, {context}"


def _facts(model: BaseModel) -> Table:
    table = Table("fact", "value", title=model.name)
    for fact, value in (
        ("architecture", model.architecture),
        ("weights", f"{model.parameters:,} in {model.dtype}"),
        ("context", f"{model.context_tokens:,} tokens" if model.context_tokens else "not stated"),
        ("vocabulary", f"{model.vocabulary:,} tokens" if model.vocabulary else "not stated"),
        ("embeddings", "shared with the output layer" if model.has_tied_embeddings else "of their own"),
        ("ends an answer", " ".join(model.stop_tokens) or "not stated"),
        ("licence", model.licence),
        ("source", model.source),
        ("fingerprint", model.fingerprint),
    ):
        table.add_row(fact, escape(value))
    return table


def _uses(found: Sequence[Capability]) -> Table:
    table = Table("use", "with", "possible", "why not, or what to know")
    for use in found:
        table.add_row(use.use, use.engine, "yes" if use.is_possible else "no", escape(use.reason))
    return table


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
