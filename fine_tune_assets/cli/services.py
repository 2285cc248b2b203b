"""`fine-tune up`, `down`, `rollback`, `serve`, `gateway` and `desk`: running the services."""

import logging
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.recipes.loader import load_recipe

if TYPE_CHECKING:
    from dagster import DagsterInstance

DAEMON, WEBSERVER, DESK = "dagster-daemon", "dagster-webserver", "desk"


@click.command()
def serve() -> None:
    """Run the supervisor in the foreground: it keeps an engine running for what the ledger wants."""
    from fine_tune_assets.serving.supervisor import supervise

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    supervise(load_settings())


@click.command()
def gateway() -> None:
    """Run the gateway in the foreground: the one way in to the served model."""
    import uvicorn

    from fine_tune_assets.gateway.listeners import listening_options

    settings = load_settings()
    options = listening_options(settings)
    _share_metrics(settings)
    uvicorn.run(
        "fine_tune_assets.gateway.app:app_from_environment",
        factory=True,
        **options,
        log_level="info",
        server_header=False,
        proxy_headers=False,
        # An answer that is being streamed is finished before the gateway ends, up to this.
        timeout_graceful_shutdown=20,
    )


def _share_metrics(settings: Settings) -> None:
    """A folder for the metrics of this gateway's processes; prometheus_client reads its name when it is imported. Those of
    gateways that are gone go."""
    import shutil

    root = settings.layout.run / "metrics"
    for left in root.glob("*"):
        if not Path(f"/proc/{left.name}").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = root / str(os.getpid())
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


@click.group(invoke_without_command=True)
@click.pass_context
def desk(context: click.Context) -> None:
    """Run the desk in the foreground: the pages for reviewers, approvers, operators and auditors."""
    if context.invoked_subcommand is None:
        import uvicorn

        settings = load_settings()
        uvicorn.run(
            "fine_tune_assets.desk.app:app_from_environment",
            factory=True,
            host=settings.desk.host,
            port=settings.desk.port,
            log_level="info",
            server_header=False,
            # Whoever speaks to it is on this machine, so what a header says about the caller counts for nothing.
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )


@desk.command()
@click.argument("name", required=False)
def link(name: str | None) -> None:
    """Print a one-time link that signs the user NAME in to the desk.

    Without NAME: the user `demo`, who is made if there are no users yet.
    """
    from fine_tune_assets.cli.users import LINK_WORDS, link_for

    click.echo(link_for(load_settings(), name))
    click.echo(f"({LINK_WORDS})", err=True)


@click.command()
@click.argument("names", nargs=-1)
def up(names: tuple[str, ...]) -> None:
    """Start everything for daily use, or only the services NAMES. What runs already goes on."""
    from fine_tune_assets.cli.status import show_status
    from fine_tune_assets.serving.services import known_services, start_services

    settings = load_settings()
    prepare(settings)
    wanted = names or tuple(known_services(settings))
    if {DAEMON, WEBSERVER} & set(wanted):
        prepare_dagster(settings, is_daemon_next=DAEMON in wanted)
    start_services(settings, wanted)
    show_status(settings)
    try:
        load_recipe(settings.recipe)
    except RecipeError as error:
        # What serves goes on. Nothing that reads the recipe is made until it is repaired.
        click.echo(f"\n{error}", err=True)


def open_instance(settings: Settings) -> "DagsterInstance":
    """Dagster's, of this installation; close it, or use it in `with`."""
    os.environ["DAGSTER_HOME"] = str(settings.dagster.home)
    settings.dagster.home.mkdir(parents=True, exist_ok=True)
    import dagster as dg

    return dg.DagsterInstance.get()


def prepare_dagster(settings: Settings, is_daemon_next: bool) -> None:
    """Make its databases before its services want them at once. The daemon would wait for ever for what a `fine-tune demo` that
    was killed had begun."""
    from fine_tune_assets.defs.local_run import fail_abandoned_runs, make_databases

    with open_instance(settings) as instance:
        make_databases(instance)
        if is_daemon_next:
            fail_abandoned_runs(instance)


@click.command()
@click.argument("names", nargs=-1)
def down(names: tuple[str, ...]) -> None:
    """Stop everything, or only the services NAMES."""
    from fine_tune_assets.serving.services import known_services, stop_services

    settings = load_settings()
    stop_services(settings, names or tuple(known_services(settings)))
    click.echo("Stopped.")


@click.command()
def rollback() -> None:
    """Roll back to the release that served before: in seconds while it is kept, else as long as a start takes."""
    import time

    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.ledger.people.api_keys import OPERATOR
    from fine_tune_assets.serving.switch import START_SECONDS, go_back, keeping_here

    settings = load_settings()
    started = time.monotonic()
    with closing(open_ledger(settings.database_url)) as ledger:
        live = go_back(
            ledger,
            timeout_seconds=START_SECONDS,
            by=OPERATOR,
            keep_old=lambda: keeping_here(settings),
            progress=lambda done, total, what: click.echo(f"{done} of {total} {what}"),
        )
    click.echo(f"Release {live.release_id} is live on {live.colour}, after {time.monotonic() - started:.1f} s.")


def prepare(settings: Settings) -> None:
    """Make the key and the ledger before several services want them at once; a fault in either shows here."""
    from fine_tune_assets.core.keys import read_or_create_key
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.ledger.encryption import KEY_NAME

    read_or_create_key(settings.layout.keys, KEY_NAME)
    open_ledger(settings.database_url).close()
