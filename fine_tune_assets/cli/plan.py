"""`fine-tune plan RECIPE`: what its training would take, on this machine or on a GPU of a given size.

Owns what is printed. How a plan is made is training's.
"""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.tables.stored_tables import rows_if_stored
from fine_tune_assets.training.base_models.facts import PublishedShape, published_shapes, shape_folder


@click.command()
@click.argument("recipe")
@click.option(
    "--gpu-memory", type=click.IntRange(min=1), help="Plan for a GPU of so many GiB; this machine if left out."
)
@click.option(
    "--base-folder", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Base model's folder."
)
def plan(recipe: str, gpu_memory: int | None, base_folder: Path | None) -> None:
    """Say what training by RECIPE (a shipped recipe's name, or a file) would take: memory, batch, disk, steps.

    Of the base model only config.json is read; while it is not here, the shipped shape of a model that a shipped recipe names. A
    training is never planned from a shape. Without an instruction set of this recipe every example is taken to be as long
    as training.max_length. A sweep is planned with the largest rank and batch that a trial may have. Ends with 1 if it does not
    fit, and says what would.
    """
    settings, console = load_settings(), Console()
    chosen = load_recipe(recipe)
    folder = base_folder or _folder_of(settings, chosen)
    if folder is not None:
        _plan(settings, console, recipe, chosen, folder, gpu_memory)
        return
    shape = _shape_of(chosen)
    console.print(
        f"{shape.model} is not here: this plan rests on its published shape, not on the model itself. A training is planned from "
        f"the model. Source of the shape: {shape.source}.",
        markup=False,
    )
    with shape_folder(shape) as folder_of_shape:
        _plan(settings, console, recipe, chosen, folder_of_shape, gpu_memory)


def _plan(
    settings: Settings, console: Console, recipe: str, chosen: Recipe, folder: Path, gpu_memory: int | None
) -> None:
    from fine_tune_assets.training.planning.measured_plan import (
        RowLength,
        chosen_machine,
        lengths_of,
        plan_before_data,
        plan_of_lengths,
    )
    from fine_tune_assets.training.planning.resource_plan import most_that_is_tried

    lengths, training = _known_lengths(settings, recipe), most_that_is_tried(chosen)
    with console.status("Counting what a step holds"):
        machine = chosen_machine(gpu_memory or settings.card_elsewhere_gb)
        row = (
            plan_before_data(folder, training, machine, settings.data_dir)
            if lengths is None
            else plan_of_lengths(
                lengths_of(map(RowLength.of, lengths), "train"), folder, training, machine, settings.data_dir
            )
        )
    console.print(_table(chosen, row, machine.name))
    source = "every example as long as max_length" if lengths is None else f"{len(lengths)} examples of the stored set"
    console.print(f"Planned with {source}.", markup=False)
    if chosen.sweep:
        most = f"rank {training.rank}, batch_size {training.batch_size}"
        console.print(f"Of the sweep's trials the one that holds most: {most}.", markup=False)
    if not row["fits"]:
        console.print(row["why"], markup=False)
        change = row["nearest"]
        console.print(f"It would fit with {change}." if change else "No smaller batch or shorter example would fit.")
        raise SystemExit(1)


def _folder_of(settings: Settings, recipe: Recipe) -> Path | None:
    """The recipe's base model; None if it is not here."""
    named = recipe.base_model.folder
    found = (
        [settings.data_dir / named] if named else sorted(settings.layout.base_models.glob(f"{recipe.base_model.name}*"))
    )
    there = [folder for folder in found if (folder / "config.json").is_file()]
    return there[-1] if there else None


def _shape_of(recipe: Recipe) -> PublishedShape:
    """Raises ModelFolderError for a model whose shape is not shipped."""
    name, known = recipe.base_model.name, published_shapes()
    if name not in known:
        raise ModelFolderError(
            f"The base model {name} is not here, and its shape is not among those that are shipped ({', '.join(known)}). Import "
            "it (`fine-tune import-model PATH`), or name a folder with its config.json (--base-folder)."
        )
    return known[name]


def _known_lengths(settings: Settings, recipe: str) -> list[dict[str, Any]] | None:
    """Of the stored set, if it is this recipe's."""
    return (rows_if_stored(settings.layout.table("example_lengths")) or None) if recipe == settings.recipe else None


def _table(recipe: Recipe, row: dict[str, Any], machine: str) -> Table:
    table = Table("part", "", title=f"{recipe.name} on {machine}")
    for part in ("weights", "adapter", "gradients", "optimizer", "activations", "library"):
        table.add_row(part, f"{row[f'{part}_bytes'] / 1e9:.2f} GB")
    table.add_section()
    table.add_row("at its peak", f"{row['peak_bytes'] / 1e9:.2f} GB of {row['limit_bytes'] / 1e9:.2f} GB", style="bold")
    table.add_section()
    table.add_row("batch_size", str(row["batch_size"]))
    table.add_row("gradient_accumulation", str(row["gradient_accumulation"]))
    table.add_row("packing", row["packing"])
    table.add_row("largest pass", f"{row['largest_rows']} rows of {row['largest_tokens']} tokens")
    table.add_row("disk", f"{row['disk_bytes'] / 1e9:.2f} GB of {row['free_disk_bytes'] / 1e9:.0f} GB")
    if row["steps"]:
        table.add_row("optimiser steps", str(row["steps"]))
    return table
