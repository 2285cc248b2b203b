"""`fine-tune materialize` and `fine-tune tables`: run the asset graph in this process, and list its tables."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from fine_tune_assets.cli.account_summary import print_account
from fine_tune_assets.cli.output import json_option, show_message, show_rows
from fine_tune_assets.cli.service_commands import open_instance
from fine_tune_assets.cli.stage_lines import stage_lines
from fine_tune_assets.core.dagster_ui import DAEMON
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import make_folder
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.instructions.first_set import describe_first_set_wait
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.reports.intake_summary import count_unread_files

MAX_NAMES_SHOWN = 5
LOG = "graph.log"
"""In the run folder: output of libraries and workers during the last run."""


class GraphError(FineTuneError):
    """Some assets failed."""


@click.command()
@click.argument("selection", nargs=-1, metavar="[SELECTION]...")
@click.option("--dry-run", is_flag=True, help="Show the runs without starting them.")
@click.option("--no-wait", is_flag=True, help="Return once running services have the runs.")
@json_option
def materialize(selection: tuple[str, ...], dry_run: bool, no_wait: bool, is_json: bool) -> None:
    """Materialize selected or outdated assets.

    SELECTION uses Dagster's syntax: `drafted_examples`, `+drafted_examples` (with everything upstream), `adapters+` (with
    everything downstream), `group:s07_judge_scores`. Selected assets run even if they are up to date, in each batch.

    While services run, Dagster executes the runs, and the command waits for them. It refuses if the running services use another
    recipe. It ends with the account: the number of rows that entered each stage, left it and were omitted.
    """
    from fine_tune_assets.cli.service_runs import run_in_services
    from fine_tune_assets.definitions import defs
    from fine_tune_assets.defs.local_run import (
        list_recipe_changes,
        list_unrecorded_changes,
        plan_runs,
        preview_runs,
        select_assets,
    )
    from fine_tune_assets.serving.service_recipes import require_recipe_of_services
    from fine_tune_assets.serving.services import read_service_states

    settings, console = load_settings(), Console()
    load_recipe(settings.recipe)
    require_recipe_of_services(settings)
    assets = select_assets(defs, selection)
    if dry_run:
        with open_instance(settings) as instance:
            runs, changed = preview_runs(defs, instance, assets), list_unrecorded_changes(instance)
            sections = list_recipe_changes(defs, instance)
        rows = [{"batch": partition, "assets": list(names)} for partition, names in runs]
        empty = _describe_no_runs(settings, changed)
        show_rows(rows, {"batch": "batch", "assets": "assets"}, is_json=is_json, empty=empty)
        if rows and changed:
            show_message(_describe_changes(changed), is_error=True)
        if sections:
            show_message(f"Sections of the recipe that changed: {', '.join(sections)}.", is_error=True)
        _show_closed_checks(settings)
    elif any(state.name == DAEMON and state.is_running for state in read_service_states(settings.installation)):
        if not assets:
            _show_closed_checks(settings)
        require_selection(assets)
        with open_instance(settings) as instance:
            runs = plan_runs(defs.resolve_asset_graph(), instance, assets)
            summary = run_in_services(settings, instance, runs, show_message, is_waiting=not no_wait)
        if no_wait:
            show_message("The account before these runs; `fine-tune status` shows it afterwards.")
        _end_with_account(settings, console, summary)
    else:
        _end_with_account(settings, console, run_graph(settings, console, set() if assets else None, assets))


def _end_with_account(settings: Settings, console: Console, summary: Any) -> None:
    print_account(settings, console, summary.warnings)
    if not summary.failed:  # otherwise the reasons of this command's runs are above
        _show_closed_checks(settings)
    require_no_failures(summary.failed)


def _show_closed_checks(settings: Settings) -> None:
    """On the error stream, so that the output of `--json` stays JSON."""
    from fine_tune_assets.definitions import defs
    from fine_tune_assets.defs.platform.closed_checks import list_closed_checks

    with open_instance(settings) as instance:
        for closed in list_closed_checks(defs.resolve_asset_graph(), instance):
            show_message(f"Stopped at {closed}", is_error=True)
    waiting = describe_first_set_wait(settings.layout, load_recipe(settings.recipe))
    if waiting is not None:
        show_message(f"Waiting: {waiting}", is_error=True)


def _describe_changes(changed: Sequence[str]) -> str:
    return (
        f"Changed, but not recorded yet: {', '.join(changed)}. The resulting runs are not listed: running services check every "
        "15 s, and `fine-tune materialize` checks at once."
    )


def _describe_no_runs(settings: Settings, changed: Sequence[str]) -> str:
    """A dry run records no change of a source, so a folder that was never seen has no run yet."""
    unread = count_unread_files(settings.layout)
    if unread:
        names = ", ".join(list(unread)[:MAX_NAMES_SHOWN])
        return (
            f"Batch folders that are not read yet: {len(unread)} ({names}). `fine-tune materialize` reads them, and runs what "
            "follows."
        )
    if not any(settings.layout.tables.glob("*/*.parquet")):
        return (
            f"Nothing was materialized yet, and {settings.layout.raw_reports} has no batch folder. Add one, then run "
            "`fine-tune materialize`."
        )
    return _describe_changes(changed) if changed else "Everything is up to date."


def require_selection(assets: Sequence[str]) -> None:
    """Raises GraphError without assets."""
    if not assets:
        raise GraphError(
            "The Dagster daemon is running and updates assets automatically up to a closed gate. To run an asset again, "
            f"select it: `fine-tune materialize ASSET`. To run the graph in this terminal, first run `fine-tune down {DAEMON}`."
        )


@click.command()
@json_option
def tables(is_json: bool) -> None:
    """List tables and how to query them."""
    import duckdb

    from fine_tune_assets.tables.asset_tables import TABLES

    layout, rows = load_settings().layout, []
    for name in TABLES:
        files = sorted((layout.tables / name).glob("*.parquet"))
        if files:
            pattern = str(layout.tables / name / "*.parquet")
            ((count,),) = duckdb.execute("select count(*) from read_parquet(?)", [pattern]).fetchall()
            query = f"select * from '{pattern}'"
            rows.append({"table": name, "rows": count, "files": len(files), "query": query})
    headers = {"table": "table", "rows": "rows", "files": "files", "query": "query in DuckDB"}
    show_rows(rows, headers, is_json=is_json, empty="No tables yet. Run `fine-tune materialize`.")


def run_graph(settings: Settings, console: Console, only: set[str] | None = None, forced: Sequence[str] = ()) -> Any:
    """As `materialize_stale`, with progress lines. Returns its Summary.

    Output of libraries and worker processes goes to `graph.log` in the run folder.
    """
    with library_output_in(settings.layout.run / LOG, console) as shown, open_instance(settings) as instance:
        return _run_graph(instance, shown, only, forced)


def _run_graph(instance: Any, console: Console, only: set[str] | None, forced: Sequence[str]) -> Any:
    from fine_tune_assets.definitions import defs
    from fine_tune_assets.defs.local_run import (
        PROGRESS_LOGGER,
        SOURCES_LOGGER,
        StageRun,
        map_steps_to_stages,
        materialize_stale,
    )

    def show_errors(run: StageRun) -> None:
        if not run.is_success and not run.is_blocked_by_verdict:
            for line in (f"✗ {run.name}", *(f"  {error}" for error in run.errors)):
                console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)

    logger, sources, faults = logging.getLogger(PROGRESS_LOGGER), logging.getLogger(SOURCES_LOGGER), _Faults(console)
    sources.addHandler(faults)
    try:
        with stage_lines(console, logger, map_steps_to_stages(defs)):
            summary = materialize_stale(defs, instance, on_end=show_errors, only=only, forced=forced)
    finally:
        sources.removeHandler(faults)
    if summary.unfinished:
        show_message(
            f"{len(summary.unfinished)} runs that another process started are unfinished; their assets were skipped. "
            "If they were interrupted, `fine-tune up dagster-daemon` marks them as failed."
        )
    elif not forced and all(run.is_blocked_by_verdict for run in summary.runs):
        console.print("Everything is up to date.")
    return summary


def require_no_failures(failed: Sequence[Any]) -> None:
    """Raise GraphError if there are failed runs."""
    if failed:
        names = "; ".join(run.name for run in failed)
        verdicts = " ".join(error for run in failed if run.is_blocked_by_verdict for error in run.errors)
        raise GraphError(f"Some assets failed: {names}. {verdicts or 'The reasons are above and in the Dagster UI.'}")


@contextmanager
def library_output_in(log: Path, console: Console) -> Iterator[Console]:
    """Redirect standard output and error of this process and its children to `log`. Yields a console that still writes to the
    target of `console`."""
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
    """A console that writes to the original descriptor of `console`; `console` itself if it writes to a file."""
    try:
        original = kept[console.file.fileno()]
    except (OSError, ValueError, KeyError):
        return console
    return Console(file=os.fdopen(os.dup(original), "w", encoding="utf-8", buffering=1))


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


class _Faults(logging.Handler):
    """Prints each fault in a source once."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.ERROR)
        self._console = console
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        fault = record.getMessage()
        if fault not in self._printed:
            self._printed.add(fault)
            self._console.print(fault, style="red", markup=False, soft_wrap=True)
