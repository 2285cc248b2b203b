"""`fine-tune recipe`: list, check and create recipes."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from fine_tune_assets.cli.new_recipes import set_value
from fine_tune_assets.cli.output import json_option, show_json, show_message, show_rows
from fine_tune_assets.core.errors import FAILED
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.recipes.gate_reach import find_gate_reach, list_task_needs, require_reachable_gate
from fine_tune_assets.recipes.loader import dump_recipe, load_recipe, shipped_recipes
from fine_tune_assets.recipes.schema import Recipe


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
@click.option(
    "--reports",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a batch, or of several.",
)
@click.option("--drafts", "has_drafts", is_flag=True, help="Print drafts and headings, with their text.")
@click.option("--any-machine", is_flag=True, help="Leave out what this machine lacks.")
@json_option
def check(name_or_file: str | None, reports: Path | None, has_drafts: bool, any_machine: bool, is_json: bool) -> None:
    """Check a recipe, also against reports.

    NAME_OR_FILE is a shipped recipe or a YAML file; the active recipe if absent. Refuses a recipe with which no candidate could
    be promoted, and prints the smallest gain that its gate detects and the chance of a false promotion. With --reports, prints
    the reports read, the sections found, drafts, needed examples and tokens per task, and why a report produces no draft; with
    --drafts also text of reports: the headings that no setting names, and three drafts per task and source, with the end of each
    section.
    Nothing is stored. With --json alone, prints the recipe with all defaults.

    The exit status is 1 if the recipe can't end in a verdict: a model, GPU or data set of the mix is missing, a task makes no
    draft, or the reports fill no test split that is large enough. Each problem is a line with the field and what to change.
    """
    settings = load_settings()
    found = load_recipe(name_or_file or settings.recipe)
    require_reachable_gate(found, found.name)
    problems = _find_problems(settings, found, any_machine=any_machine)
    if reports is not None:
        from fine_tune_assets.cli.recipe_preview_command import show_preview

        problems = show_preview(settings, found, reports, problems, has_drafts=has_drafts, is_json=is_json)
    elif has_drafts:
        raise click.UsageError("--drafts needs --reports FOLDER.")
    elif is_json:
        show_json(dump_recipe(found))
    else:
        _show_summary(found)
    if not is_json:
        show_next_steps(settings, found)
    if problems:
        refuse(problems)


def show_next_steps(settings: Settings, recipe: Recipe) -> None:
    from fine_tune_assets.cli.recipe_problems import describe_next_steps

    for step in describe_next_steps(settings, recipe):
        show_message(step)


def _find_problems(settings: Settings, recipe: Recipe, *, any_machine: bool) -> list[str]:
    from fine_tune_assets.cli.recipe_problems import find_machine_problems, find_mix_problems
    from fine_tune_assets.engines.vllm import has_gpu

    here = () if any_machine else find_machine_problems(settings, recipe, has_gpu=has_gpu())
    return [*here, *find_mix_problems(settings, recipe)]


def refuse(problems: Sequence[str]) -> None:
    """Print each problem on a line, and end with status 1."""
    for problem in problems:
        show_message(f"Problem: {problem}", is_error=True)
    raise SystemExit(FAILED)


def _show_summary(found: Recipe) -> None:
    from fine_tune_assets.cli.recipe_problems import format_need

    tasks = ", ".join(task.name for task in found.tasks)
    click.echo(f"{found.name} is valid: base model {found.base_model.name}, {found.training.method}, tasks {tasks}")
    for line in _describe_gate(found):
        click.echo(line)
    for need in list_task_needs(found):
        click.echo(f"  {need.task}: {format_need(need, None)}")


def _describe_gate(recipe: Recipe) -> Iterator[str]:
    reach, gate = find_gate_reach(recipe), recipe.gate
    gain = (
        "no gain" if reach.detectable_gain is None else f"a gain of {reach.detectable_gain:.2f} points with 80 % power"
    )
    yield (
        f"Gate: {reach.test_examples} test examples in the smallest set ({recipe.split.minimum_examples} examples) detect {gain}."
    )
    yield (
        f"Chance to promote a candidate without a gain: {reach.verdict_false_promotions:.2%} for one verdict, "
        f"{reach.yearly_false_promotions:.0%} for a year of {gate.verdicts_per_year} (gate.yearly_false_promotions)."
    )


@recipe.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--from", "template", type=click.Choice(list(shipped_recipes())), help="Copy this shipped recipe.")
@click.option(
    "--reports", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of reports to plan for."
)
@click.option("--domain", metavar="PACK", help="Domain pack: a name, or its folder.")
@click.option("--output", "outputs", metavar="HEADING", multiple=True, help="Section to write; repeat per task.")
@click.option("--input", "inputs", metavar="HEADING", multiple=True, help="Section of the input; repeatable.")
@click.option("--task", "names", metavar="NAME", multiple=True, help="Name of the task; one per --output.")
@click.option("--instruction", "instructions", metavar="TEXT", multiple=True, help="Instruction; one per --output.")
@click.option("--labels", metavar="A,B,C", multiple=True, help="Allowed outputs; one per --output.")
@click.option("--source", metavar="NAME", help="Trusted source; empty: review every draft.")
@click.option("--hardware", type=click.Choice(["cpu", "gpu"]), help="What trains; default: this machine.")
@click.option("--base-model", metavar="FOLDER", help="Imported base model, for a GPU.")
def new(file: Path | None, template: str | None, **answers: Any) -> None:
    """Create a recipe from your reports.

    Finds the sections of the reports, asks for domain, tasks and hardware, and writes a recipe for this machine: on a processor,
    with the bundled model. Prints how many approved examples the gate needs and which gain they show. Options answer the
    questions; without a terminal, what is missing follows from the reports. The exit status is 1 if the recipe can't end in a
    verdict; the file is kept.

    Each --output makes a task. With several, use --task, --instruction, --labels and --input once per --output, in the same
    order, or leave them out. --input then lists headings, separated by commas; a single one is for all tasks.

    With --from, copies a shipped recipe instead. The name of FILE becomes the name of the recipe; without FILE it is PACK.yaml.
    """
    from fine_tune_assets.cli.recipe_wizard import require_new, run_wizard
    from fine_tune_assets.cli.wizard_tasks import WizardOptions
    from fine_tune_assets.engines.vllm import has_gpu

    if file is not None:
        require_new(file)
    elif answers["domain"]:
        require_new(Path(f"{Path(answers['domain']).name}.yaml"))
    if template is not None:
        if file is None or any(answers.values()):
            raise click.UsageError("--from needs a FILE and no other option.")
        _copy(file, template)
        return
    if file is None and not answers["domain"] and not sys.stdin.isatty():
        raise click.UsageError("Name a FILE, or use --domain.")
    target, problems = run_wizard(load_settings(), file, WizardOptions(**answers), has_gpu=has_gpu())
    reports = answers["reports"] or "FOLDER"
    show_message(
        f"Wrote {target}. Edit it, then run `fine-tune recipe check {target} --reports {reports}` and set "
        f"FINE_TUNE_RECIPE={target.resolve()}."
    )
    if problems:
        refuse(problems)


def _copy(target: Path, template: str) -> None:
    text = shipped_recipes()[template].read_text(encoding="utf-8")
    text = set_value(text, "name", target.stem)
    text = set_value(text, "  salt", f"{target.stem.replace('_', '-')}-1")
    target.write_text(text, encoding="utf-8")
    show_message(f"Wrote {target}. Edit it, then run `fine-tune recipe check {target} --reports FOLDER`.")
