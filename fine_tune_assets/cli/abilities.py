"""`fine-tune ability-tasks`: the general questions, for the runner that the field compares models with."""

from pathlib import Path

import click

from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.judging.contestants.abilities import write_tasks


@click.command("ability-tasks")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def ability_tasks(folder: Path) -> None:
    """Write the general questions as tasks of lm-eval-harness into FOLDER."""
    for name in write_tasks(list((load_settings().layout.evaluation / "abilities").glob("*.jsonl")), folder):
        click.echo(name)
