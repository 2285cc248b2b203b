"""`fine-tune status`: the live release, and which services run. Owns what is shown of them."""

from contextlib import closing

import click

from fine_tune_assets.cli.trace import why_not_approved_now
from fine_tune_assets.core.errors import FineTuneError, RecipeError
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.releases.release_folders import read_release
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.reviews.erasures import erased_in, list_erasures
from fine_tune_assets.ledger.serving.deployments import Deployment, deployments
from fine_tune_assets.ledger.serving.imported_releases import key_of_import
from fine_tune_assets.ledger.serving.releases import find_release
from fine_tune_assets.ledger.serving.rollbacks import find_back
from fine_tune_assets.lineage.trainings import learned_rows
from fine_tune_assets.serving.engine_start import program_serving
from fine_tune_assets.serving.left_engines import ENGINES
from fine_tune_assets.serving.release_probes import findings_of
from fine_tune_assets.serving.services import service_states
from fine_tune_assets.serving.switch import rollback_words
from fine_tune_assets.serving.trials import trial_words


@click.command()
def status() -> None:
    """Show the live release, its colour and engine, the addresses, and which services run."""
    show_status(load_settings())


def show_status(settings: Settings) -> None:
    with closing(open_ledger(settings.database_url)) as ledger:
        known = deployments(ledger)
        live = next((d for d in known if d.state == "live"), None)
        if live is None:
            click.echo("Live release   none")
        else:
            _show_live(settings, ledger, live)
        click.echo(f"Gateway        {settings.gateway_address}/v1")
        click.echo(f"Desk           {settings.desk_address}")
        for other in known:
            is_shown = other.state not in ("live", "stopped", "failed") or other is known[-1]
            if is_shown and other.state != "live":
                click.echo(f"Deployment     {other.colour} {other.release_id} {other.state} {other.detail}".rstrip())
                if (words := trial_words(ledger, other.deployment_id, other.release_id)) is not None:
                    click.echo(f"Trial          {words}")
        click.echo(f"Rollback       {rollback_words(find_back(ledger))}")
        unfinished = [erasure.patient_key for erasure in list_erasures(ledger) if not erasure.is_finished]
    click.echo("Services")
    for state in service_states(settings):
        word = "up" if state.is_up else ("starting or stuck" if state.is_running else "stopped")
        place = state.url or str(state.log)
        click.echo(f"  {state.name:<18} {word:<18} {f'pid {state.pid}' if state.pid else '':<12} {place}")
    for patient_key in unfinished:
        click.echo(f"Unfinished     the erasure of patient {patient_key}: run `fine-tune erase` again")


def _show_live(settings: Settings, ledger: Ledger, live: Deployment) -> None:
    key, release = key_of_import(ledger, live.release_id), find_release(ledger, live.release_id)
    origin = "" if key is None else f"  (imported, key {short(key)})"
    click.echo(f"Live release   {live.release_id}{origin}")
    click.echo(f"Colour         {live.colour}")
    if erased := sum(mark.is_learned_from for mark in erased_in(ledger, live.release_id)):
        click.echo(f"Erased         it learned from {erased} patients who were erased since: train again")
    try:
        # As far as its set says how its examples were approved.
        rows = None if release is None else learned_rows(settings.layout, ledger, release)
        why_not = why_not_approved_now(settings, ledger)
        if fallen := sum(why_not(row) is not None for row in rows or ()):
            click.echo(f"Not approved   it learned from {fallen} examples that are not approved any more: train again")
    except RecipeError as error:  # a recipe that is being edited must not hide what serves
        click.echo(f"Not approved   not known: {error}")
    try:
        engine = read_release(settings.data_dir / release.folder).engine if release is not None else ""
        folder = settings.layout.run / ENGINES / live.deployment_id
        words = program_serving(folder, engine, settings).in_words
    except FineTuneError as error:
        words = str(error)
    click.echo(f"Engine         {'up' if live.engine_url else 'none'}  ({words})")
    findings = findings_of(live.probes)
    click.echo(f"Probes         {findings.in_words if findings is not None else 'not probed yet'}")
