"""How commands print rows: as columns, with headers on a terminal, or as JSON."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from fine_tune_assets.core.line_names import name_line

_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(command: _Command) -> _Command:
    """Add `--json`; the function receives `is_json`."""
    return click.option("--json", "is_json", is_flag=True, help="Print JSON.")(command)


def show_rows(
    rows: Sequence[Mapping[str, object]],
    headers: Mapping[str, str],
    *,
    is_json: bool,
    empty: str = "",
    is_titled: bool = False,
) -> None:
    """Print one line a row with the columns that `headers` names (key → header), or all keys of every row as a JSON array.

    `is_titled`: print the headers in a pipe too, for columns of numbers.
    """
    if is_json:
        show_json([dict(row) for row in rows])
        return
    lines = [[_cell(row.get(name)) for name in headers] for row in rows]
    if not lines:
        if empty:
            show_message(empty)
        return
    titles = list(headers.values())
    widths = [max(len(line[place]) for line in [titles, *lines]) for place in range(len(titles))]
    if is_titled or sys.stdout.isatty():
        click.echo(click.style(_line(titles, widths), bold=True))
    for line in lines:
        click.echo(_line(line, widths))


def show_message(text: str, *, is_error: bool = False) -> None:
    """Print a message of this program, which names the product line in the commands that it quotes. Never text of a report."""
    click.echo(name_line(text), err=is_error)


def show_json(value: object) -> None:
    """Times become ISO 8601, paths text."""
    click.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "-"
    return str(value)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value) if isinstance(value, Path) else repr(value)
