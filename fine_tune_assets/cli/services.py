"""`fine-tune up`, `down`, `status`, `serve`, `gateway` and `desk`: running the services and showing what runs."""

import logging
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.recipes.loading import load_recipe

if TYPE_CHECKING:
    from fine_tune_assets.ledger.database import Ledger
    from fine_tune_assets.ledger.deployments import Deployment

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

    from fine_tune_assets.gateway.listening import listening_options

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
        _run_desk(load_settings())


@desk.command()
@click.argument("name", required=False)
def link(name: str | None) -> None:
    """Print a one-time link that signs the user NAME in to the desk.

    Without NAME: the user `demo`, who is made if there are no users yet.
    """
    from fine_tune_assets.cli.desk_link import LINK_WORDS, link_for

    click.echo(link_for(load_settings(), name))
    click.echo(f"({LINK_WORDS})", err=True)


def _run_desk(settings: Settings) -> None:
    import uvicorn

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


@click.command()
@click.argument("names", nargs=-1)
def up(names: tuple[str, ...]) -> None:
    """Start everything for daily use, or only the services NAMES. What runs already goes on."""
    from fine_tune_assets.serving.services import known_services, start_services

    settings = load_settings()
    prepare(settings)
    wanted = names or tuple(known_services(settings))
    if {DAEMON, WEBSERVER} & set(wanted):
        prepare_dagster(settings, is_daemon_next=DAEMON in wanted)
    start_services(settings, wanted)
    _show(settings)
    try:
        load_recipe(settings.recipe)
    except RecipeError as error:
        # What serves goes on. Nothing that reads the recipe is made until it is repaired.
        click.echo(f"\n{error}", err=True)


def prepare_dagster(settings: Settings, is_daemon_next: bool) -> None:
    """Make its databases before its services want them at once. The daemon would wait for ever for what a `fine-tune demo` that
    was killed had begun."""
    os.environ["DAGSTER_HOME"] = str(settings.dagster.home)
    settings.dagster.home.mkdir(parents=True, exist_ok=True)
    import dagster as dg

    from fine_tune_assets.defs.local_run import fail_abandoned_runs, make_databases

    with dg.DagsterInstance.get() as instance:
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

    from fine_tune_assets.ledger.api_keys import OPERATOR
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.serving.switching import START_SECONDS, go_back, keeping_here

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


@click.command()
def status() -> None:
    """Show the live release, its colour and engine, the addresses, and which services run."""
    _show(load_settings())


def prepare(settings: Settings) -> None:
    """Make the key and the ledger before several services want them at once; a fault in either shows here."""
    from fine_tune_assets.core.keys import read_or_create_key
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.ledger.encryption import KEY_NAME

    read_or_create_key(settings.layout.keys, KEY_NAME)
    open_ledger(settings.database_url).close()


def _show(settings: Settings) -> None:
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.ledger.deployments import deployments
    from fine_tune_assets.ledger.rollbacks import find_back
    from fine_tune_assets.serving.services import service_states
    from fine_tune_assets.serving.switching import rollback_words

    ledger = open_ledger(settings.database_url)
    known = deployments(ledger)
    live = next((d for d in known if d.state == "live"), None)
    if live is None:
        click.echo("Live release   none")
    else:
        click.echo(f"Live release   {live.release_id}{_origin(ledger, live.release_id)}")
        click.echo(f"Colour         {live.colour}")
        _show_erased(ledger, live.release_id)
        _show_not_approved(settings, ledger, live.release_id)
        _show_engine(settings, ledger, live)
    click.echo(f"Gateway        {settings.gateway_address}/v1")
    click.echo(f"Desk           {settings.desk_address}")
    for other in known:
        is_shown = other.state not in ("live", "stopped", "failed") or other is known[-1]
        if is_shown and other.state != "live":
            click.echo(f"Deployment     {other.colour} {other.release_id} {other.state} {other.detail}".rstrip())
            _show_trial(ledger, other)
    click.echo(f"Rollback       {rollback_words(find_back(ledger))}")
    click.echo("Services")
    for state in service_states(settings):
        word = "up" if state.is_up else ("starting or stuck" if state.is_running else "stopped")
        place = state.url or str(state.log)
        click.echo(f"  {state.name:<18} {word:<18} {f'pid {state.pid}' if state.pid else '':<12} {place}")
    _show_unfinished_erasures(ledger)


def _origin(ledger: "Ledger", release_id: str) -> str:
    from fine_tune_assets.core.fingerprints import short
    from fine_tune_assets.ledger.imported_releases import key_of_import

    key = key_of_import(ledger, release_id)
    return "" if key is None else f"  (imported, key {short(key)})"


def _show_trial(ledger: "Ledger", deployment: "Deployment") -> None:
    from fine_tune_assets.serving.trying import trial_words

    words = trial_words(ledger, deployment.deployment_id, deployment.release_id)
    if words is not None:
        click.echo(f"Trial          {words}")


def _show_engine(settings: Settings, ledger: "Ledger", live: "Deployment") -> None:
    from fine_tune_assets.core.errors import FineTuneError
    from fine_tune_assets.core.releases import read_release
    from fine_tune_assets.ledger.releases import find_release
    from fine_tune_assets.serving.left_engines import ENGINES
    from fine_tune_assets.serving.probing import findings_of
    from fine_tune_assets.serving.starting import program_serving

    release = find_release(ledger, live.release_id)
    try:
        engine = read_release(settings.data_dir / release.folder).engine if release is not None else ""
        folder = settings.layout.run / ENGINES / live.deployment_id
        words = program_serving(folder, engine, settings).in_words
    except FineTuneError as error:
        words = str(error)
    click.echo(f"Engine         {'up' if live.engine_url else 'none'}  ({words})")
    findings = findings_of(live.probes)
    click.echo(f"Probes         {findings.in_words if findings is not None else 'not probed yet'}")


def _show_erased(ledger: "Ledger", release_id: str) -> None:
    from fine_tune_assets.ledger.erasures import erased_in

    count = sum(mark.is_learned_from for mark in erased_in(ledger, release_id))
    if count:
        click.echo(f"Erased         it learned from {count} patients who were erased since: train again")


def _show_not_approved(settings: Settings, ledger: "Ledger", release_id: str) -> None:
    from fine_tune_assets.cli.approvals import count_not_approved
    from fine_tune_assets.core.errors import RecipeError

    try:
        count = count_not_approved(settings, ledger, release_id)
    except RecipeError as error:  # a recipe that is being edited must not hide what serves
        click.echo(f"Not approved   not known: {error}")
        return
    if count:
        click.echo(f"Not approved   it learned from {count} examples that are not approved any more: train again")


def _show_unfinished_erasures(ledger: "Ledger") -> None:
    from fine_tune_assets.ledger.erasures import list_erasures

    for erasure in list_erasures(ledger):
        if not erasure.is_finished:
            click.echo(f"Unfinished     the erasure of patient {erasure.patient_key}: run `fine-tune erase` again")
