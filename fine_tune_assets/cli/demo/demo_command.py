"""`fine-tune demo`: deploy the shipped release, print the link to the first page, run the whole graph.

A verdict that stops the candidate is a result, not a failure: the previous release stays in production.
"""

import os
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx
import yaml
from rich.console import Console

from fine_tune_assets.cli.account_summary import print_account
from fine_tune_assets.cli.asset_commands import GraphError, require_no_failures, run_graph
from fine_tune_assets.cli.service_commands import DESK, prepare, prepare_dagster
from fine_tune_assets.core.dagster_ui import CODE_SERVER, DAEMON, WEBSERVER
from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.core.shipped_release import ShippedRelease, find_shipped_release
from fine_tune_assets.recipes.gate_reach import require_reachable_gate
from fine_tune_assets.recipes.loader import dump_recipe, load_recipe, parse_recipe

READY_SECONDS = 300.0
"""For the start of the engine, and for the gateway to load the document index."""
_POLL_SECONDS = 0.3


@dataclass(frozen=True)
class ProductionRelease:
    """The release in production."""

    release_id: str
    origin: str

    @property
    def description(self) -> str:
        origin = {"local": "built here", "shipped": "shipped with the software", "imported": "imported"}[self.origin]
        return f"release {self.release_id}, {origin}"


@click.command()
@click.option("--ui/--no-ui", default=True, help="Start the Dagster webserver and daemon.")
@click.option(
    "--judge",
    "judge_file",
    envvar="JUDGE",  # of `make demo JUDGE=FILE`
    type=click.Path(path_type=Path, exists=True, resolve_path=True),
    help="Model file that grades with the verifier.",
)
def demo(ui: bool, judge_file: Path | None) -> None:
    """Serve a model and materialize every asset.

    Deploys the shipped release, prints a link to the first page, and runs the asset graph on the sample reports. With --judge, a
    language model grades the answers together with the verifier.
    """
    from fine_tune_assets.cli.demo.summary import ask_the_model, print_summary
    from fine_tune_assets.cli.user_commands import print_link
    from fine_tune_assets.serving.service_recipes import require_recipe_of_services
    from fine_tune_assets.serving.services import known_services, start_services, stop_services

    console, started = Console(), time.monotonic()
    if judge_file is not None:
        recipe = write_recipe_with_judge(load_settings(), judge_file)
        os.environ["FINE_TUNE_RECIPE"] = str(recipe)
        console.print(
            f"Graded by {judge_file.name}. To use this recipe again: FINE_TUNE_RECIPE={recipe}", soft_wrap=True
        )
    settings = load_settings()
    require_reachable_gate(load_recipe(settings.recipe), settings.recipe)
    require_recipe_of_services(settings)
    prepare(settings)
    prepare_dagster(settings, before_daemon=False)
    stop_services(settings, (CODE_SERVER, DAEMON))  # otherwise both would materialize the same assets
    start_services(settings, ("supervisor", "gateway", DESK))
    deploy_shipped(settings, find_shipped_release())
    if (answering := find_production_release(settings)) is not None:
        wait_until_answering(settings)
        console.print(f"In production: {answering.description}.", highlight=False, soft_wrap=True)
    print_link(settings, console)
    if ui:
        start_services(settings, (CODE_SERVER, WEBSERVER))
    summary = run_graph(settings, console)
    failed = summary.failed
    stopped = explain_blocking_verdict(settings, failed)
    if failed and not stopped:
        print_account(settings, console, summary.warnings)
    require_no_failures([] if stopped else failed)
    answering = find_production_release(settings)
    if answering is None and not stopped:
        raise GraphError(_why_nothing_is_live(settings))
    answer = ""
    if answering is not None:
        wait_until_answering(settings)
        answer = ask_the_model(settings)
    if ui:
        start_services(settings, tuple(known_services(settings)))
    words = answering.description if answering is not None else "no release yet"
    print_summary(console, settings, answer, words, stopped, time.monotonic() - started, ui)
    print_account(settings, console, summary.warnings)
    print_link(settings, console)


def write_recipe_with_judge(settings: Settings, model: Path) -> Path:
    """The installation's recipe with a local language model as judge, as a file in the data folder."""
    values = dump_recipe(load_recipe(settings.recipe))
    values["judge"] |= {"kind": "statements", "backend": "folder", "model": str(model)}
    path = settings.data_dir / "recipe_with_judge.yaml"
    parse_recipe(values, path.name)
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    return path


def deploy_shipped(settings: Settings, shipped: ShippedRelease | None) -> None:
    """Import and deploy the shipped release if nothing is live yet."""
    from fine_tune_assets.cli.identity import operating_system_user
    from fine_tune_assets.cli.main import main
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.serving.rollout import deploy_release

    if shipped is None or find_production_release(settings) is not None:
        return
    arguments = ["releases", "import", str(shipped.archive), "--public-key", str(shipped.public_key), "--placeholder"]
    main(arguments, standalone_mode=False)
    with closing(open_ledger(settings)) as ledger:
        deploy_release(ledger, shipped.release_id, timeout_seconds=READY_SECONDS, by=operating_system_user())


def wait_until_answering(settings: Settings, timeout_seconds: float = READY_SECONDS) -> None:
    """Wait until the gateway reports that it is ready. Raises GraphError after `timeout_seconds`."""
    from fine_tune_assets.desk.gateway_client import make_gateway_tls

    deadline = time.monotonic() + timeout_seconds
    with httpx.Client(verify=make_gateway_tls(settings), trust_env=False, timeout=10) as client:
        while not _is_ready(client, f"{settings.desk_gateway_address}/ready"):
            if time.monotonic() >= deadline:
                raise GraphError(
                    f"The live release does not answer after {timeout_seconds:.0f} s. `fine-tune status` shows its engine, and "
                    f"{settings.layout.run / 'supervisor.log'} says why."
                )
            time.sleep(_POLL_SECONDS)


def _is_ready(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def find_production_release(settings: Settings) -> ProductionRelease | None:
    from fine_tune_assets.desk.model_summary import find_origin
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.ledger.serving.deployments import find_live_deployment

    with closing(open_ledger(settings)) as ledger:
        live = find_live_deployment(ledger)
        return None if live is None else ProductionRelease(live.release_id, find_origin(ledger, live.release_id))


def explain_blocking_verdict(settings: Settings, failed: list[Any]) -> str:
    """Why the newest candidate is not deployed and the next step, if its verdict is the only reason that runs failed.

    Otherwise empty, also for a verdict that was changed.
    """
    from fine_tune_assets.desk.model_summary import explain_block, read_model_summary
    from fine_tune_assets.ledger.database import open_ledger

    if not failed or not all(run.is_blocked_by_verdict for run in failed):
        return ""
    with closing(open_ledger(settings)) as ledger:
        stopped = read_model_summary(ledger).blocking_verdict
        is_judged = stopped is not None and stopped.is_intact and stopped.decision in ("hold", "refuse")
        return explain_block(stopped, ledger) if stopped is not None and is_judged else ""


def _why_nothing_is_live(settings: Settings) -> str:
    """The closed gate, or the failed engine."""
    from fine_tune_assets.desk.model_summary import explain_block, read_model_summary
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.ledger.serving.deployments import list_deployments

    with closing(open_ledger(settings)) as ledger:
        try:
            stopped = read_model_summary(ledger).blocking_verdict
            failed = " ".join(f"{d.state}: {d.detail}" for d in list_deployments(ledger)[-1:])
            why = explain_block(stopped, ledger) if stopped is not None else failed
        except FineTuneError as error:
            why = str(error)
    return f"No release is live. {why} {materialize_hint('served_models')}"
