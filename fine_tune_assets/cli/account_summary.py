"""Prints the account at the end of a command that materializes: the rows that entered each stage, left it and were omitted."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.errors import RecipeError, TableError
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.lineage.account import Account
from fine_tune_assets.lineage.account_tables import read_account
from fine_tune_assets.lineage.left_out import LeftOut, describe_omissions, find_left_out
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.reports.intake_summary import count_unread_files


def load_account(settings: Settings) -> Account:
    """The account of this product line. Raises TableError, OSError, pa.ArrowInvalid."""
    with closing(open_ledger(settings)) as ledger:
        return read_account(settings.layout, ledger, _read_recipe(settings), count_unread_files(settings.layout))


def list_all_left_out(settings: Settings) -> list[LeftOut]:
    """What the account and the later stages left out. Raises as `load_account`."""
    return [*describe_omissions(load_account(settings)), *find_left_out(settings.layout)]


def _read_recipe(settings: Settings) -> Recipe | None:
    """None while the recipe is being edited, which must not hide the account."""
    try:
        return load_recipe(settings.recipe)
    except RecipeError:
        return None


def print_account(settings: Settings, console: Console, warnings: Sequence[str] = ()) -> None:
    """The stages, their omissions, and the failed checks that only warn, each with its remedy."""
    try:
        account, later = load_account(settings), find_left_out(settings.layout)
    except (TableError, OSError, pa.ArrowInvalid):
        console.print("The account is unknown: a table can't be read. It is being replaced, or damaged.", style="red")
        return
    counts = account.count_stages()
    if counts:
        number = len(account.batches)
        shown = Table(title=f"Account of {number:,} {'batch' if number == 1 else 'batches'}", title_justify="left")
        for heading in ("stage", "in", "out", "left out"):
            shown.add_column(heading, justify="left" if heading == "stage" else "right", no_wrap=True)
        for count in counts:
            stage = count.stage
            shown.add_row(
                stage.title, f"{count.entered:,} {stage.enters}", f"{count.left:,} {stage.leaves}", f"{count.omitted:,}"
            )
        console.print(shown)
    lines = [name_line(f"{row.text} {row.remedy}") for row in (*describe_omissions(account), *later)]
    for line in (*(f"Left out: {text}" for text in lines), *(f"Check failed: {text}" for text in warnings)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def account_json(settings: Settings) -> dict[str, Any]:
    """Raises as `load_account`."""
    account = load_account(settings)
    return {
        "stages": [
            {"stage": c.stage.name, "in": c.entered, "out": c.left, "left_out": c.omitted}
            for c in account.count_stages()
        ],
        "left_out": [
            {"batch": o.batch, "reason": o.reason.name, "detail": o.detail, "count": o.count, "remedy": o.reason.remedy}
            for o in account.omissions
        ],
        "later": [asdict(row) for row in find_left_out(settings.layout)],
    }
