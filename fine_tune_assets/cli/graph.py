"""`fine-tune materialize` and `tables`: the asset graph from the command line."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from fine_tune_assets.cli.services import DAEMON, open_instance
from fine_tune_assets.cli.stage_lines import stage_lines
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import make_folder
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.recipes.loader import load_recipe

LOG = "graph.log"
"""In the run folder: what libraries and workers of the last call printed."""


class GraphError(FineTuneError):
    """Some assets could not be made."""


@click.command()
@click.argument("assets", nargs=-1, metavar="[ASSET]...")
@click.option("--only", multiple=True, metavar="ASSET", help="Update only this asset; repeatable.")
def materialize(assets: tuple[str, ...], only: tuple[str, ...]) -> None:
    """Materialize each ASSET, even if it is up to date; then every asset that is not up to date, in the order of the stages.

    What failed before is tried once more. While the Dagster daemon runs, name an ASSET: the daemon materializes it, and then
    what follows from it.
    """
    from fine_tune_assets.serving.services import service_states

    settings, console = load_settings(), Console()
    load_recipe(settings.recipe)
    if any(state.name == DAEMON and state.is_running for state in service_states(settings)):
        _ask_daemon(settings, assets)
    else:
        require_no_failures(run_graph(settings, console, set(only) or None, assets).failed)


def _ask_daemon(settings: Settings, assets: tuple[str, ...]) -> None:
    """Raises GraphError, UnknownAssetError."""
    if not assets:
        raise GraphError(
            "The Dagster daemon is running and updates every asset automatically. To run one again, name it: "
            f"`fine-tune materialize ASSET`. To run the graph in this terminal, first run `fine-tune down {DAEMON}`."
        )
    from fine_tune_assets.definitions import defs
    from fine_tune_assets.defs.local_run import named_runs
    from fine_tune_assets.defs.named_assets import INTERVAL_SECONDS, request_assets

    with open_instance(settings) as instance:
        named_runs(defs.resolve_asset_graph(), instance, assets)
    request_assets(settings.layout.run, assets)
    click.echo(
        f"Requested {', '.join(assets)}. The Dagster daemon starts the run within about {INTERVAL_SECONDS} seconds: "
        f"http://127.0.0.1:{settings.dagster.port}/runs"
    )


@click.command()
def tables() -> None:
    """List the tables that were written, with their rows, and how to read them with DuckDB."""
    import duckdb

    from fine_tune_assets.tables.catalogue import TABLES

    console, layout = Console(), load_settings().layout
    shown = Table("table", "rows", "files", "read it with")
    for name in TABLES:
        files = sorted((layout.tables / name).glob("*.parquet"))
        if files:
            pattern = str(layout.tables / name / "*.parquet")
            count = duckdb.execute("select count(*) from read_parquet(?)", [pattern]).fetchone()
            shown.add_row(name, str(count[0] if count else 0), str(len(files)), f"from '{pattern}'")
    console.print(shown)


def run_graph(settings: Settings, console: Console, only: set[str] | None = None, again: Sequence[str] = ()) -> Any:
    """Make the assets `again`, then run what is not up to date, showing how far each stage is.

    Returns the Summary of all of it. What libraries and worker processes print goes into `graph.log` of the run folder.
    """
    with library_output_in(settings.layout.run / LOG, console) as shown, open_instance(settings) as instance:
        return _run_graph(instance, shown, only, again)


def _run_graph(instance: Any, console: Console, only: set[str] | None, again: Sequence[str]) -> Any:
    from fine_tune_assets.definitions import defs
    from fine_tune_assets.defs.local_run import (
        PROGRESS_LOGGER,
        SOURCES_LOGGER,
        StageRun,
        materialize_stale,
        stages_of_steps,
    )

    def show_errors(run: StageRun) -> None:
        if not run.is_success and not run.is_stopped_by_verdict:
            for line in (f"✗ {_name_of(run)}", *(f"  {error}" for error in run.errors)):
                console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)

    logger, sources, faults = logging.getLogger(PROGRESS_LOGGER), logging.getLogger(SOURCES_LOGGER), _Faults(console)
    sources.addHandler(faults)
    try:
        with stage_lines(console, logger, stages_of_steps(defs)):
            summary = materialize_stale(defs, instance, on_end=show_errors, only=only, again=again)
    finally:
        sources.removeHandler(faults)
    if summary.unfinished:
        console.print(
            f"{len(summary.unfinished)} runs that were not started here have not ended; what they make was left to them. "
            "If they were cut off, `fine-tune up dagster-daemon` ends them."
        )
    elif all(run.is_stopped_by_verdict for run in summary.runs):
        console.print("Everything is up to date.")
    return summary


def require_no_failures(failed: Sequence[Any]) -> None:
    """Raise GraphError if there are failed runs."""
    if failed:
        names = "; ".join(_name_of(run) for run in failed)
        verdicts = " ".join(error for run in failed if run.is_stopped_by_verdict for error in run.errors)
        raise GraphError(
            f"Not everything could be made: {names}. {verdicts or 'The reasons are above and in the Dagster UI.'}"
        )


def _name_of(run: Any) -> str:
    return ", ".join(run.assets) + (f" [{run.partition}]" if run.partition else "")


@contextmanager
def library_output_in(log: Path, console: Console) -> Iterator[Console]:
    """While the block runs, standard output and error of this process and its children go into `log`. Yields a console that
    still writes where `console` does."""
    make_folder(log.parent)
    _flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    shown = _console_at(kept, console)
    try:
        for standard in kept:
            os.dup2(target, standard)
        yield shown
    finally:
        _flush()
        for standard, original in kept.items():
            os.dup2(original, standard)
            os.close(original)
        os.close(target)


def _console_at(kept: dict[int, int], console: Console) -> Console:
    """A console at the original of the descriptor that `console` writes to; `console` itself where it writes to a file."""
    try:
        original = kept[console.file.fileno()]
    except (OSError, ValueError, KeyError):
        return console
    return Console(file=os.fdopen(os.dup(original), "w", encoding="utf-8", buffering=1))


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


class _Faults(logging.Handler):
    """Each fault in a source is said once, however often it is met."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.ERROR)
        self._console = console
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        fault = record.getMessage()
        if fault not in self._told:
            self._told.add(fault)
            self._console.print(fault, style="red", markup=False, soft_wrap=True)
