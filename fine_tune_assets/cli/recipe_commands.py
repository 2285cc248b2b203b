"""`fine-tune recipe`: list, check and create recipes."""

import re
from pathlib import Path

import click

from fine_tune_assets.cli.output import json_option, show_json, show_rows
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.recipes.loader import dump_recipe, load_recipe, shipped_recipes

_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


@click.group()
def recipe() -> None:
    """List, check and create recipes."""


@recipe.command("list")
@json_option
def list_command(is_json: bool) -> None:
    """List the shipped recipes."""
    active = load_settings().recipe
    rows = []
    for name in shipped_recipes():
        found = load_recipe(name)
        rows.append(
            {
                "name": name,
                "is_active": name == active,
                "base_model": found.base_model.name,
                "method": found.training.method,
                "description": found.description,
            }
        )
    headers = {"name": "name", "base_model": "base model", "method": "method", "description": "description"}
    show_rows(rows, headers, is_json=is_json)


@recipe.command()
@click.argument("name_or_file", required=False)
@json_option
def check(name_or_file: str | None, is_json: bool) -> None:
    """Check a recipe.

    NAME_OR_FILE is a shipped recipe or a YAML file; the active recipe if absent. With --json, prints the recipe with all
    defaults.
    """
    found = load_recipe(name_or_file or load_settings().recipe)
    if is_json:
        show_json(dump_recipe(found))
        return
    tasks = ", ".join(task.name for task in found.tasks)
    click.echo(f"{found.name} is valid: base model {found.base_model.name}, {found.training.method}, tasks {tasks}")


@recipe.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--from",
    "template",
    default="llama3_8b_qlora_24gb",
    show_default=True,
    type=click.Choice(list(shipped_recipes())),
    help="Shipped recipe to copy.",
)
def new(file: Path, template: str) -> None:
    """Create a recipe file from a shipped one.

    The name of FILE becomes the name of the recipe, and its split salt is set to match.
    """
    name = file.stem
    if file.suffix != ".yaml" or not _NAME.fullmatch(name):
        raise FineTuneError(
            f"{file.name} is not a valid recipe file: use lower-case letters, digits, _ and the ending .yaml."
        )
    if file.exists():
        raise FineTuneError(f"{file} exists. Remove it, or use another name.")
    if not file.parent.is_dir():
        raise FineTuneError(f"There is no folder {file.parent}. Create it, or use another one.")
    text = shipped_recipes()[template].read_text(encoding="utf-8")
    text = re.sub(r"^name: .*$", f"name: {name}", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^(\s+salt: ).*$", rf"\g<1>{name.replace('_', '-')}-1", text, count=1, flags=re.MULTILINE)
    file.write_text(text, encoding="utf-8")
    load_recipe(str(file))
    click.echo(
        f"Wrote {file}. Edit it, then run `fine-tune recipe check {file}` and set FINE_TUNE_RECIPE={file.resolve()}."
    )
