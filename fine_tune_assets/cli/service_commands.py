"""`fine-tune up`, `down`, `rollback` and `run`: the services."""

import logging
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.core.dagster_ui import CODE_SERVER, DAEMON, DAGSTER_SERVICES, WEBSERVER
from fine_tune_assets.core.errors import FineTuneError, RecipeError, summarize_exception
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import Settings, list_lines, load_settings, select_line
from fine_tune_assets.recipes.gate_reach import require_reachable_gate
from fine_tune_assets.recipes.loader import load_line_recipe, load_recipe

if TYPE_CHECKING:
    from dagster import DagsterInstance

DESK = "desk"


@click.group()
def run() -> None:
    """Run one service in the foreground."""


@run.command()
def supervisor() -> None:
    """Run the supervisor, which starts the engines."""
    from fine_tune_assets.serving.services import SUPERVISOR
    from fine_tune_assets.serving.supervisor import run_supervisor

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    run_supervisor(_enter_service(SUPERVISOR))


@run.command()
def gateway() -> None:
    """Run the gateway, the API for applications."""
    import uvicorn

    from fine_tune_assets.gateway.listeners import build_listener_options

    settings = _enter_service("gateway")
    options = build_listener_options(settings)
    _share_metrics(settings)
    uvicorn.run(
        "fine_tune_assets.gateway.gateway_app:app_from_environment",
        factory=True,
        **options,
        log_level="info",
        # Seconds for answers that are being streamed.
        timeout_graceful_shutdown=20,
    )


def _share_metrics(settings: Settings) -> None:
    """Set the folder in which the processes of this gateway share metrics; prometheus_client reads the variable at import.
    Folders of ended gateways are removed."""
    import shutil

    root = settings.layout.run / "metrics"
    for left in root.glob("*"):
        if not Path(f"/proc/{left.name}").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = root / str(os.getpid())
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


@run.command()
def desk() -> None:
    """Run the desk, the web pages for people."""
    import uvicorn

    from fine_tune_assets.core.limited_http import build_server_options

    settings = _enter_service(DESK)
    uvicorn.run(
        "fine_tune_assets.desk.desk_app:create_app_from_environment",
        factory=True,
        host=settings.desk.host,
        port=settings.desk.port,
        **build_server_options(settings.connections),
        log_level="info",
        timeout_graceful_shutdown=5,
    )


@run.command(CODE_SERVER)
def code_server() -> None:
    """Run Dagster's code server."""
    from fine_tune_assets.core.dagster_ui import DEFINITIONS, code_location, code_server_socket

    settings = _enter_dagster(CODE_SERVER)
    _write_workspace(settings)
    location = ("--module-name", DEFINITIONS, "--location-name", code_location(settings.line))
    # A process that is not used for so long ends: one with older code, when its runs have ended.
    options = ("--heartbeat-ttl", "120", "--log-level", "warning", "--use-python-environment-entry-point")
    socket = code_server_socket(settings.layout.run)
    _become("dagster", "code-server", "start", "--socket", str(socket), *location, *options)


@run.command(WEBSERVER)
def webserver() -> None:
    """Run the Dagster UI behind the desk."""
    from fine_tune_assets.core.dagster_ui import webserver_socket
    from fine_tune_assets.defs.platform.webserver import run_webserver

    settings = _enter_dagster(WEBSERVER)
    _wait_for_code_server(settings)
    run_webserver(webserver_socket(settings.layout.run), _write_workspace(settings), settings.connections)


@run.command(DAEMON)
def daemon() -> None:
    """Run Dagster's daemon: sensors and runs."""
    settings = _enter_dagster(DAEMON)
    _wait_for_code_server(settings)
    _become("dagster-daemon", "run", "-w", str(_write_workspace(settings)))


def _write_workspace(settings: Settings) -> Path:
    """The code locations of all product lines."""
    from fine_tune_assets.core.dagster_ui import write_workspace

    main = settings.installation.layout
    folders = {line: main.lines / line / "run" for line in list_lines(settings)}
    return write_workspace({"": main.run, **folders}, settings.documentation_address)


def _enter_service(name: str) -> Settings:
    """The settings of this service, whose recipe is recorded for commands."""
    from fine_tune_assets.serving.service_recipes import record_recipe

    settings = load_settings()
    record_recipe(settings, name)
    return settings


def _enter_dagster(name: str) -> Settings:
    """Also sets the environment that Dagster's processes need when they are not started by `fine-tune up`."""
    from fine_tune_assets.serving.service_recipes import record_recipe
    from fine_tune_assets.serving.services import build_environment

    settings = load_settings()
    os.environ.update(build_environment(settings))
    os.chdir(PROJECT_DIR)
    record_recipe(settings, name)
    return settings


def _wait_for_code_server(settings: Settings) -> None:
    """It loads the definitions before it listens. Raises ServiceError."""
    import time

    from fine_tune_assets.core.dagster_ui import code_server_socket
    from fine_tune_assets.serving.services import START_TIMEOUT_SECONDS, ServiceError, is_listening

    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_listening(code_server_socket(settings.layout.run)):
        if time.monotonic() >= deadline:
            raise ServiceError(f"Dagster's code server does not listen. Start it with `fine-tune up {CODE_SERVER}`.")
        time.sleep(0.2)


def _become(program: str, *arguments: str) -> None:
    """Replace this process by a program of the virtual environment."""
    path = str(Path(sys.executable).parent / program)
    os.execv(path, [path, *arguments])


@click.command()
@click.argument("names", nargs=-1)
def up(names: tuple[str, ...]) -> None:
    """Start all services.

    With NAMES, only these. Services that already run stay as they are; if one uses another recipe, no service starts.
    """
    from rich.console import Console

    from fine_tune_assets.cli.status_command import show_status
    from fine_tune_assets.cli.user_commands import print_link
    from fine_tune_assets.serving.service_recipes import require_recipe_of_services
    from fine_tune_assets.serving.services import known_services, start_services

    settings = load_settings()
    require_recipe_of_services(settings)
    prepare(settings)
    wanted = names or tuple(known_services(settings))
    if set(DAGSTER_SERVICES) & set(wanted):
        prepare_dagster(settings, before_daemon=DAEMON in wanted)
    # First, since Dagster's webserver and daemon connect to every line's code server when they start.
    faults = [] if names else start_lines(settings)
    start_services(settings, wanted)
    show_status(settings)
    if DESK in wanted:
        print_link(settings, Console())
    try:
        require_reachable_gate(load_recipe(settings.recipe), settings.recipe)
    except RecipeError as error:
        # Services keep running; assets that read the recipe wait until it is repaired.
        click.echo(f"\n{error}", err=True)
    if faults:
        raise ProductLineError(f"These product lines did not start completely: {', '.join(faults)}. See above.")


class ProductLineError(FineTuneError):
    """A product line did not start."""


def start_lines(settings: Settings) -> list[str]:
    """Start the services of the further lines. Returns the names of those that failed, which stop no other line."""
    from sqlite3 import DatabaseError

    from sqlalchemy.exc import SQLAlchemyError

    from fine_tune_assets.serving.services import known_services, start_services

    faults = []
    for name in () if settings.line else list_lines(settings):
        try:
            line = select_line(settings, name)
            load_line_recipe(line)  # without it, the services run and every asset fails
            prepare(line)
            start_services(line, tuple(known_services(line)))
        except FineTuneError as error:
            faults.append(name)
            click.echo(f"Product line {name}: {error}", err=True)
        except (SQLAlchemyError, DatabaseError, OSError) as error:
            faults.append(name)
            click.echo(f"Product line {name}: {summarize_exception(error)}", err=True)
    return faults


def open_instance(settings: Settings) -> "DagsterInstance":
    """The Dagster instance of this installation. Use it in `with`, or close it."""
    os.environ["DAGSTER_HOME"] = str(settings.dagster.home)
    settings.dagster.home.mkdir(parents=True, exist_ok=True)
    import dagster as dg

    return dg.DagsterInstance.get()


def prepare_dagster(settings: Settings, before_daemon: bool) -> None:
    """Create its databases before several services open them at once. Before the daemon starts, mark runs of a killed
    `fine-tune demo` as failed: the daemon would wait for them forever."""
    from fine_tune_assets.defs.local_run import create_databases, fail_abandoned_runs

    with open_instance(settings) as instance:
        create_databases(instance)
        if before_daemon:
            fail_abandoned_runs(instance)


@click.command()
@click.argument("names", nargs=-1)
def down(names: tuple[str, ...]) -> None:
    """Stop all services.

    With NAMES, only these.
    """
    from fine_tune_assets.serving.services import known_services, stop_services

    settings = load_settings()
    stop_services(settings, names or tuple(known_services(settings)))
    for name in () if names or settings.line else list_lines(settings):
        # Without reading line.yaml, which may have become invalid while the services ran.
        line = Settings.model_validate(
            {**settings.model_dump(), "line": name, "data_dir": settings.layout.lines / name}
        )
        stop_services(line, tuple(known_services(line)))
    click.echo("Stopped.")


@click.command()
def rollback() -> None:
    """Roll back to the previous release.

    Takes seconds while its engine is on standby, otherwise as long as an engine start.
    """
    import time

    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.serving.rollout import START_SECONDS, current_retention, roll_back_release

    settings = load_settings()
    started = time.monotonic()
    with closing(open_ledger(settings)) as ledger:
        live = roll_back_release(
            ledger,
            timeout_seconds=START_SECONDS,
            by=operating_system_user(),
            retention=lambda: current_retention(settings),
            progress=lambda done, total, what: click.echo(f"{done} of {total} {what}"),
        )
    click.echo(f"Release {live.release_id} is live on {live.colour}, after {time.monotonic() - started:.1f} s.")


def prepare(settings: Settings) -> None:
    """Create the folders, the encryption key and the ledger before several services open them at once; errors surface here.

    A further product line gets the tombstones of the others: it may have been added after an erasure.
    """
    from fine_tune_assets.core.product_lines import link_shared_folders
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.ledger.reviews.erasures import copy_erasures

    link_shared_folders(settings)
    with closing(open_ledger(settings)) as ledger:
        for name in {"", *list_lines(settings)} - {settings.line} if settings.line else ():
            with closing(open_ledger(select_line(settings.installation, name))) as other:
                copy_erasures(ledger, other)
