"""`fine-tune plan RECIPE`: whether its training, merge and serving fit, on this machine or on a GPU of a given size."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from fine_tune_assets.cli.output import json_option, show_json
from fine_tune_assets.cli.plan_parts import (
    Hardware,
    describe_later_parts,
    describe_training,
    plan_later_parts,
    plan_table,
)
from fine_tune_assets.core.errors import DOES_NOT_FIT, ModelFolderError
from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.recipe_parts import section_fingerprints
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.tables.stored_tables import read_rows_if_present
from fine_tune_assets.tables.training_rows import ExampleLength, TooLongExamples, count_too_long
from fine_tune_assets.training.base_models.model_facts import PublishedShape, published_shapes, shape_folder


@click.command()
@click.argument("recipe")
@click.option("--gpu-memory", type=click.IntRange(min=1), help="GPU memory in GiB; default: this machine.")
@click.option(
    "--serving-gpu-memory",
    type=click.IntRange(min=0),
    help="Serving's GPU memory in GiB; 0: main memory.",
)
@click.option("--main-memory", type=click.IntRange(min=1), help="Main memory in GiB, to plan another machine.")
@click.option(
    "--base-folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the model's config.json.",
)
@json_option
def plan(
    recipe: str,
    gpu_memory: int | None,
    serving_gpu_memory: int | None,
    main_memory: int | None,
    base_folder: Path | None,
    is_json: bool,
) -> None:
    """Plan training, merge and serving of a recipe.

    RECIPE is the name of a shipped recipe, or a file. Only config.json of the base model is read; if the model is not
    imported, the plan uses its published shape; a training run never does. Without an instruction set of this recipe, every
    example counts as training.max_length tokens. Serving is planned on the same GPU as training, and for both engines of a
    switch. With --gpu-memory the merge is planned for another machine: it is compared only with --main-memory, and not with a
    disk. If training, merge or serving does not fit, the exit status is 4, and the plan suggests a change.
    """
    settings, console = load_settings(), Console()
    chosen = load_recipe(recipe)
    hardware = Hardware(gpu_memory, serving_gpu_memory, main_memory)
    folder = base_folder or find_base_folder(settings, chosen)
    if folder is not None:
        _plan(settings, console, recipe, chosen, folder, hardware, is_json=is_json)
        return
    shape = _shape_of(chosen)
    if not is_json:
        console.print(
            f"{shape.model} is not imported, so this plan uses its published shape ({shape.source}). Before a training the plan "
            "is made from the model itself.",
            markup=False,
        )
    with shape_folder(shape) as folder_of_shape:
        _plan(settings, console, recipe, chosen, folder_of_shape, hardware, is_json=is_json)


def _plan(
    settings: Settings,
    console: Console,
    recipe: str,
    chosen: Recipe,
    folder: Path,
    hardware: Hardware,
    *,
    is_json: bool,
) -> None:
    from fine_tune_assets.training.planning.measured_plan import (
        RowLength,
        plan_for_lengths,
        plan_without_data,
        select_machine,
        split_lengths,
    )

    lengths, training = _known_lengths(settings, recipe), chosen.training
    with nullcontext() if is_json else console.status("Planning"):
        machine = select_machine(hardware.gpu_gib or settings.cluster_gpu_memory_gb)
        row = (
            plan_without_data(folder, training, machine, settings.data_dir)
            if lengths is None
            else plan_for_lengths(
                split_lengths(map(RowLength.from_row, lengths), "train"), folder, training, machine, settings.data_dir
            )
        )
        later = plan_later_parts(settings, chosen, folder, row, training, machine, hardware)
    fits = row["fits"] and later.merge.fits is not False and later.serving.fits is not False
    if is_json:
        known = None if lengths is None else len(lengths)
        too_long = _count_too_long(chosen, lengths)
        longest = {"too_long_examples": too_long and too_long.count, "longest_example": too_long and too_long.longest}
        judge_bytes = _judge_bytes(settings, chosen)
        judge = {
            "judge_bytes": judge_bytes,
            "judge_fits": None if judge_bytes is None else judge_bytes <= machine.memory_bytes,
        }
        stated = {"recipe": chosen.name, "machine": machine.name, "known_examples": known, "fits": fits}
        show_json({**stated, **longest, **judge, "training": row, **later.to_json()})
    else:
        console.print(plan_table(chosen.name, row, machine.name, later))
        source = (
            "max_length tokens for every example" if lengths is None else f"{len(lengths)} examples of the stored set"
        )
        console.print(f"Planned with {source}.", markup=False)
        if sentence := _describe_too_long(chosen, _count_too_long(chosen, lengths)):
            console.print(sentence, markup=False)
        if judge_line := _describe_judge(chosen, _judge_bytes(settings, chosen), machine.memory_bytes):
            console.print(judge_line, markup=False)
        for line in (*_describe_duration(settings, chosen), *describe_training(row), *describe_later_parts(later)):
            console.print(line, markup=False)
    if not fits:
        raise SystemExit(DOES_NOT_FIT)


def _describe_duration(settings: Settings, recipe: Recipe) -> Iterator[str]:
    """Measured by the stored adapter's training, if it had the same settings and base model."""
    sections = section_fingerprints(recipe)
    fingerprint = combine([sections["training"], sections["base_model"]])
    for row in read_rows_if_present(settings.layout.table("adapters")):
        if row["recipe_fingerprint"] == fingerprint:
            minutes = max(1, round(row["duration_seconds"] / 60))
            yield f"The last training with these settings took {minutes} min for {row['trained_row_count']} examples."


def _count_too_long(recipe: Recipe, lengths: list[dict[str, Any]] | None) -> TooLongExamples | None:
    """None without an instruction set of this recipe."""
    rows = None if lengths is None else map(ExampleLength.from_row, lengths)
    return None if rows is None else count_too_long(rows, recipe.training.max_length)


def _describe_too_long(recipe: Recipe, found: TooLongExamples | None) -> str:
    """Empty if no example is too long, or without a set."""
    if found is None or not found.count:
        return ""
    settings = recipe.training
    stated = found.describe(is_excluded=settings.overlong_examples == "exclude", limit=settings.max_length)
    return f"{stated} {found.remedy}"


def _judge_bytes(settings: Settings, recipe: Recipe) -> int | None:
    """Size of the weights of a judge on this machine; None without one, or if its files are missing."""
    from fine_tune_assets.judging.judges.judge_models import weights_bytes

    is_local = recipe.judge.needs_model and recipe.judge.backend == "folder"
    return weights_bytes(settings.data_dir / recipe.judge.model) if is_local else None


def _describe_judge(recipe: Recipe, weights: int | None, limit: int) -> str:
    """Whether the judge's weights fit; empty for a judge that runs elsewhere or has none."""
    if not recipe.judge.needs_model or recipe.judge.backend != "folder":
        return ""
    if weights is None:
        return f"judge.model {recipe.judge.model} has no weights yet, so this plan leaves it out."
    size = f"The judge has {weights / 1e9:.2f} GB of weights and takes turns with training"
    if weights <= limit:
        return f"{size}. They fit, with {(limit - weights) / 1e9:.2f} GB for its context."
    return f"{size}. They do not fit: choose a smaller or quantized judge.model, or judge.backend: endpoint."


def find_base_folder(settings: Settings, recipe: Recipe) -> Path | None:
    """The folder of the recipe's base model; None if it is not imported."""
    from fine_tune_assets.training.base_models.registration import bundled_model_folder

    named = recipe.base_model.folder
    folder = (
        settings.data_dir / named
        if named
        else bundled_model_folder(settings.layout.base_models / recipe.base_model.name)
    )
    return folder if (folder / "config.json").is_file() else None


def _shape_of(recipe: Recipe) -> PublishedShape:
    """Raises ModelFolderError for a model without a published shape."""
    name, known = recipe.base_model.name, published_shapes()
    if name not in known:
        raise ModelFolderError(
            f"The base model {name} is not imported, and no shape is published for it (known: {', '.join(known)}). Run "
            "`fine-tune models import PATH`, or use --base-folder."
        )
    return known[name]


def _known_lengths(settings: Settings, recipe: str) -> list[dict[str, Any]] | None:
    """Of the stored set, if it is this recipe's."""
    return (
        (read_rows_if_present(settings.layout.table("example_lengths")) or None)
        if load_recipe(recipe) == load_recipe(settings.recipe)
        else None
    )
