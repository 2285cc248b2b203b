"""`fine-tune demo`, `materialize` and `tables`: the asset graph from the command line."""

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fine_tune_assets.cli.services import DAEMON, prepare
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.recipes.loading import load_recipe

_DONE_OF_TOTAL = re.compile(r"(\d+) of (\d+) (.+)$")


class GraphError(FineTuneError):
    """Some assets could not be made."""


@click.command()
@click.option("--only", multiple=True, metavar="ASSET", help="Only this asset; may be given several times.")
@click.option("--again", multiple=True, metavar="ASSET", help="First make this asset again, even if nothing changed.")
def materialize(only: tuple[str, ...], again: tuple[str, ...]) -> None:
    """Bring every asset up to date that is not, in the order of the stages, and try once more what failed before."""
    from fine_tune_assets.serving.services import service_states

    settings, console = load_settings(), Console()
    load_recipe(settings.recipe)
    if any(state.name == DAEMON and state.is_running for state in service_states(settings)):
        raise GraphError("The daemon runs and does this by itself. To do it here: fine-tune down dagster-daemon")
    _require_no_failures(run_graph(settings, console, set(only) or None, again))


@click.command()
def tables() -> None:
    """List the tables that were written, with their rows, and how to read them with DuckDB."""
    import duckdb

    from fine_tune_assets.core.tables import TABLES

    console, layout = Console(), load_settings().layout
    shown = Table("table", "rows", "files", "read it with")
    for name in TABLES:
        files = sorted((layout.tables / name).glob("*.parquet"))
        if files:
            pattern = str(layout.tables / name / "*.parquet")
            count = duckdb.execute("select count(*) from read_parquet(?)", [pattern]).fetchone()
            shown.add_row(name, str(count[0] if count else 0), str(len(files)), f"from '{pattern}'")
    console.print(shown)


@click.command()
@click.option("--ui/--no-ui", default=True, help="Also start the Dagster webserver and daemon at the end.")
def demo(ui: bool) -> None:
    """Run the whole graph on the sample reports, serve the result, and ask it a question."""
    from fine_tune_assets.cli.summary import ask_the_model, print_summary
    from fine_tune_assets.serving.services import known_services, start_services, stop_services

    settings, console = load_settings(), Console()
    load_recipe(settings.recipe)
    prepare(settings)
    started = time.monotonic()
    stop_services(settings, (DAEMON,))  # two at work on the same assets would do everything twice
    start_services(settings, ("supervisor", "gateway"))
    _require_no_failures(run_graph(settings, console))
    _require_live(settings)
    answer = ask_the_model(settings)
    if ui:
        start_services(settings, tuple(known_services(settings)))
    print_summary(console, settings, answer, time.monotonic() - started, ui)


def run_graph(settings: Settings, console: Console, only: set[str] | None = None, again: Sequence[str] = ()) -> Any:
    """Make the assets `again`, then run what is not up to date, showing each stage and a bar for long work.

    Returns the Summary of all of it.
    """
    os.environ["DAGSTER_HOME"] = str(_home(settings))
    import dagster as dg

    from fine_tune_assets.definitions import defs
    from fine_tune_assets.defs.local_run import StageRun, materialize_stale

    _quiet_loggers()
    with dg.DagsterInstance.get() as instance, _bars(console) as bars:

        def started(assets: tuple[str, ...], partition: str | None) -> None:
            bars.start(", ".join(assets) + (f" [{partition}]" if partition else ""))

        def ended(run: StageRun) -> None:
            bars.end(run.is_success, run.errors)

        summary = materialize_stale(defs, instance, started, ended, only, again)
    if summary.unfinished:
        console.print(
            f"{len(summary.unfinished)} runs that were not started here have not ended; what they make was left to them. "
            "If they were cut off, `fine-tune up dagster-daemon` ends them."
        )
    elif not summary.runs:
        console.print("Everything is up to date.")
    return summary


def _home(settings: Settings) -> Path:
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    return settings.dagster_home


def _require_no_failures(summary: Any) -> None:
    if summary.failed:
        names = "; ".join(
            ", ".join(run.assets) + (f" [{run.partition}]" if run.partition else "") for run in summary.failed
        )
        raise GraphError(f"Not everything could be made: {names}. The reasons are above and in the Dagster UI.")


def _require_live(settings: Settings) -> None:
    """Raise GraphError with the reason why no release answers: the gate that is closed, or the engine that failed."""
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.ledger.deployments import deployments, live_deployment
    from fine_tune_assets.ledger.verdict_documents import require_document
    from fine_tune_assets.ledger.verdicts import list_verdicts, require_promotion

    ledger = open_ledger(settings.database_url)
    try:
        if live_deployment(ledger) is not None:
            return
        for verdict in list_verdicts(ledger, 1):
            require_promotion(
                ledger,
                adapter_id=verdict.adapter_id,
                base_fingerprint=verdict.base_fingerprint,
                instruction_set_fingerprint=verdict.instruction_set_fingerprint,
            )
            require_document(settings.layout.verdicts, settings.layout.keys, verdict)
        failed = [f"{d.state}: {d.detail}" for d in deployments(ledger)[-1:]]
        raise GraphError(
            f"No release is live. {' '.join(failed)} To try again: fine-tune materialize --again served_models"
        )
    finally:
        ledger.close()


def _quiet_loggers() -> None:
    import warnings

    warnings.filterwarnings("ignore", module="dagster")
    logging.getLogger("alembic").setLevel(logging.WARNING)


class _Bars(logging.Handler):
    """One line a run, with a bar once a worker tells how far it is."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._console, self._progress = console, progress
        self._task: Any = None
        self._name, self._since = "", 0.0

    def start(self, name: str) -> None:
        self._name, self._since = name, time.monotonic()
        self._task = self._progress.add_task(name, total=None, detail="")
        if not self._console.is_terminal:
            self._console.print(f"… {name}")

    def end(self, is_success: bool, errors: tuple[str, ...]) -> None:
        self._progress.remove_task(self._task)
        seconds = time.monotonic() - self._since
        mark = "[green]✓[/green]" if is_success else "[red]✗[/red]"
        self._console.print(f"{mark} {self._name.replace('[', chr(92) + '[')}  {seconds:.1f} s")
        for error in errors:
            self._console.print(f"  {error}", style="red", markup=False, soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        found = _DONE_OF_TOTAL.search(record.getMessage())
        if found and self._task is not None:
            done, total, what = int(found[1]), int(found[2]), found[3]
            self._progress.update(self._task, completed=done, total=total, detail=what)
            if not self._console.is_terminal:
                self._console.print(f"    {done} of {total} {what}", markup=False)


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


@contextmanager
def _bars(console: Console) -> Iterator[_Bars]:
    from fine_tune_assets.defs.local_run import PROGRESS_LOGGER, SOURCES_LOGGER

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeElapsedColumn(),
    )
    logger, sources, faults = logging.getLogger(PROGRESS_LOGGER), logging.getLogger(SOURCES_LOGGER), _Faults(console)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bars = _Bars(console, progress)
        logger.addHandler(bars)
        sources.addHandler(faults)
        try:
            yield bars
        finally:
            logger.removeHandler(bars)
            sources.removeHandler(faults)
