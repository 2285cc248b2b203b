"""`fine-tune lines`: the product lines of this installation."""

from contextlib import closing
from pathlib import Path
from sqlite3 import DatabaseError
from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.cli.output import json_option, show_rows
from fine_tune_assets.cli.service_commands import prepare
from fine_tune_assets.core.errors import FineTuneError, summarize_exception
from fine_tune_assets.core.line_names import MAIN_LINE
from fine_tune_assets.core.product_lines import create_line
from fine_tune_assets.core.settings import Settings, list_lines, load_settings, select_line
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.serving.deployments import find_live_deployment
from fine_tune_assets.recipes.gate_reach import list_obstacles
from fine_tune_assets.recipes.loader import load_line_recipe, shipped_recipes


@click.group()
def lines() -> None:
    """Add and list product lines.

    A product line has its own recipe, reports, users, keys, releases and production model. All lines share the services, the base
    models and the scrubber's cache. `fine-tune --line NAME COMMAND` works on one.
    """


@lines.command()
@click.argument("name")
@click.option("--recipe", required=True, help="Name of a shipped recipe, or a YAML file.")
@click.option("--reports-of", metavar="LINE", help="Read the batches of this line.")
@click.option("--ledger-url", default="", help="Database of this line; default: SQLite.")
def add(name: str, recipe: str, reports_of: str | None, ledger_url: str) -> None:
    """Add a product line.

    Writes `lines/NAME/line.yaml` in the data folder. Add settings to it that differ from the installation's. Refuses a recipe or
    domain pack that the line can't load.
    """
    settings = load_settings().installation
    # A path must not depend on the folder from which a service is started.
    wanted = recipe if recipe in shipped_recipes() else str(Path(recipe).expanduser().resolve())
    source = "" if reports_of == MAIN_LINE else reports_of
    file = create_line(settings, name, wanted, reports_of=source, ledger_url=ledger_url)
    try:
        line = select_line(settings, name)
        obstacles = list_obstacles(load_line_recipe(line))
        prepare(line)
    except FineTuneError:
        file.unlink()
        raise
    click.echo(f"Product line {name}: {file}")
    click.echo(f"Batch folders: {file.parent / 'raw_reports'}")
    if obstacles:
        click.echo(f"No candidate could be promoted with this recipe: {'; '.join(obstacles)}.", err=True)
    click.echo(
        f"Add a user: `fine-tune --line {name} users add NAME --role operator`. Then run `fine-tune down` and `fine-tune up`."
    )


@lines.command("list")
@json_option
def list_command(is_json: bool) -> None:
    """List the product lines.

    The exit status is 1 if a line can't load its recipe or domain pack, or open its ledger.
    """
    settings = load_settings().installation
    rows = [_describe(settings, name) for name in ("", *list_lines(settings))]
    headers = {
        "line": "line",
        "recipe": "recipe",
        "production": "production",
        "priority": "priority",
        "problem": "problem",
    }
    show_rows(rows, headers, is_json=is_json)
    if any(row["problem"] for row in rows):
        raise SystemExit(1)


def _describe(settings: Settings, name: str) -> dict[str, Any]:
    row: dict[str, Any] = {"line": name or MAIN_LINE, "recipe": "", "production": "", "priority": 0, "problem": ""}
    try:
        line = select_line(settings, name)
        row |= {"recipe": line.recipe, "priority": line.priority}
        with closing(open_ledger(line)) as ledger:
            live = find_live_deployment(ledger)
        row |= {"production": live.release_id if live else ""}
        load_line_recipe(line)
    except FineTuneError as error:
        row |= {"problem": str(error)}
    except (SQLAlchemyError, DatabaseError) as error:  # a damaged ledger
        row |= {"problem": summarize_exception(error)}
    return row
