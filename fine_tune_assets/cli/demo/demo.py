"""`fine-tune demo`: from an empty installation to a page that answers, then the whole graph behind it.

Owns the order: serve the shipped release, print the link to the first page, run the graph, and say which release answers. A
verdict that stops a candidate is a result and not a failure: the release before it stays in service.
"""

import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import click
import httpx
from rich.console import Console

from fine_tune_assets.cli.graph import GraphError, require_no_failures, run_graph
from fine_tune_assets.cli.services import DAEMON, DESK, WEBSERVER, prepare, prepare_dagster
from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.core.shipped_release import ShippedRelease, shipped_release
from fine_tune_assets.recipes.loader import load_recipe

READY_SECONDS = 300.0
"""Until the release that is live answers: its engine starts, and the gateway loads what it needs for answers from documents."""
_LOOK_SECONDS = 0.3


@dataclass(frozen=True)
class Answering:
    """Which release answers now."""

    release_id: str
    origin: str

    @property
    def in_words(self) -> str:
        made = {"own": "made here", "shipped": "shipped with the software", "imported": "imported"}[self.origin]
        return f"release {self.release_id}, {made}"


@click.command()
@click.option("--ui/--no-ui", default=True, help="Also start the Dagster webserver, and the daemon at the end.")
def demo(ui: bool) -> None:
    """Serve a model, print the link to the first page, then run the whole graph on the sample reports behind it."""
    from fine_tune_assets.cli.demo.summary import ask_the_model, print_summary
    from fine_tune_assets.serving.services import known_services, start_services, stop_services

    settings, console, started = load_settings(), Console(), time.monotonic()
    load_recipe(settings.recipe)
    prepare(settings)
    prepare_dagster(settings, is_daemon_next=False)
    stop_services(settings, (DAEMON,))  # two at work on the same assets would do everything twice
    start_services(settings, ("supervisor", "gateway", DESK))
    serve_shipped(settings, shipped_release())
    if (answering := answering_now(settings)) is not None:
        wait_until_answering(settings)
        console.print(f"Answering now: {answering.in_words}.", highlight=False, soft_wrap=True)
    print_link(settings, console)
    if ui:
        start_services(settings, (WEBSERVER,))
    failed = run_graph(settings, console).failed
    stopped = verdict_that_stops(settings, failed)
    require_no_failures([] if stopped else failed)
    answering = answering_now(settings)
    if answering is None and not stopped:
        raise GraphError(_why_nothing_is_live(settings))
    answer = ""
    if answering is not None:
        wait_until_answering(settings)
        answer = ask_the_model(settings)
    if ui:
        start_services(settings, tuple(known_services(settings)))
    words = answering.in_words if answering is not None else "no release yet"
    print_summary(console, settings, answer, words, stopped, time.monotonic() - started, ui)
    print_link(settings, console)


def serve_shipped(settings: Settings, shipped: ShippedRelease | None) -> None:
    """Import the release that came with the repository and make it live, where nothing is live yet."""
    from fine_tune_assets.cli.main import main
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.serving.switch import serve_release

    if shipped is None or answering_now(settings) is not None:
        return
    # Whatever the import refuses ends the demo with its words.
    arguments = ["releases", "import", str(shipped.archive), "--public-key", str(shipped.public_key), "--placeholder"]
    main(arguments, standalone_mode=False)
    with closing(open_ledger(settings.database_url)) as ledger:
        serve_release(ledger, shipped.release_id, timeout_seconds=READY_SECONDS, by="demo")


def print_link(settings: Settings, console: Console) -> None:
    """The address to open. Where the installation has users of its own they sign in as they do every day."""
    from fine_tune_assets.cli.users import LINK_WORDS, LinkError, link_for

    try:
        lines = [link_for(settings), f"  ({LINK_WORDS})"]
    except LinkError:
        lines = [f"{settings.desk_address}  (sign in with your own user)"]
    console.print()
    for line in (f"Open the first page  {lines[0]}", *lines[1:], ""):
        console.print(line, markup=False, highlight=False, soft_wrap=True)  # to be copied: not broken into lines


def wait_until_answering(settings: Settings, timeout_seconds: float = READY_SECONDS) -> None:
    """Until the gateway says that it is ready: after a start the engine of the live release takes its time.

    Raises GraphError with what to do when it takes longer.
    """
    from fine_tune_assets.desk.gateway_client import tls_to_gateway

    deadline = time.monotonic() + timeout_seconds
    with httpx.Client(verify=tls_to_gateway(settings), trust_env=False, timeout=10) as client:
        while not _is_ready(client, f"{settings.gateway_of_desk}/ready"):
            if time.monotonic() >= deadline:
                raise GraphError(
                    f"The live release does not answer after {timeout_seconds:.0f} s. `fine-tune status` shows its engine, and "
                    f"{settings.layout.run / 'supervisor.log'} says why."
                )
            time.sleep(_LOOK_SECONDS)


def _is_ready(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def answering_now(settings: Settings) -> Answering | None:
    from fine_tune_assets.desk.overview import origin_of
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.ledger.serving.deployments import live_deployment

    with closing(open_ledger(settings.database_url)) as ledger:
        live = live_deployment(ledger)
        return None if live is None else Answering(live.release_id, origin_of(ledger, live.release_id))


def verdict_that_stops(settings: Settings, failed: list[Any]) -> str:
    """Why the newest candidate is not served, and the next step, if its verdict is all that kept the graph from its end.

    Empty otherwise: also where a verdict was changed, or nobody proves it.
    """
    from fine_tune_assets.desk.overview import next_step, read_models
    from fine_tune_assets.ledger.database import open_ledger

    if not failed or not all(run.is_stopped_by_verdict for run in failed):
        return ""
    with closing(open_ledger(settings.database_url)) as ledger:
        stopped = read_models(ledger).stopped
        is_judged = stopped is not None and stopped.is_whole and stopped.decision in ("hold", "refuse")
        return next_step(stopped, ledger) if stopped is not None and is_judged else ""


def _why_nothing_is_live(settings: Settings) -> str:
    """The gate that is closed, or the engine that failed."""
    from fine_tune_assets.desk.overview import next_step, read_models
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.ledger.serving.deployments import deployments

    with closing(open_ledger(settings.database_url)) as ledger:
        try:
            stopped = read_models(ledger).stopped
            failed = " ".join(f"{d.state}: {d.detail}" for d in deployments(ledger)[-1:])
            why = next_step(stopped, ledger) if stopped is not None else failed
        except FineTuneError as error:
            why = str(error)
    return f"No release is live. {why} {materialize_hint('served_models')}"
