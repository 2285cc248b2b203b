"""`fine-tune status`: the production model, other deployments, what was left out, where the graph stopped, and the services."""

from contextlib import closing
from dataclasses import asdict
from typing import Any

import click
import httpx
import pyarrow as pa

from fine_tune_assets.cli.account_summary import list_all_left_out
from fine_tune_assets.cli.output import json_option, show_json
from fine_tune_assets.cli.trace_command import find_current_lapse
from fine_tune_assets.core.errors import FineTuneError, RecipeError, TableError
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.line_names import MAIN_LINE, name_line
from fine_tune_assets.core.releases.release_folders import read_release
from fine_tune_assets.core.settings import Settings, list_lines, load_settings
from fine_tune_assets.desk.asset_failures import list_failures
from fine_tune_assets.instructions.first_set import describe_first_set_wait
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.reviews.erasures import list_erasures, list_release_marks
from fine_tune_assets.ledger.serving.deployments import Deployment, list_deployments
from fine_tune_assets.ledger.serving.imported_releases import find_import_key
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.ledger.serving.rollbacks import find_rollback_target
from fine_tune_assets.lineage.training_runs import read_learned_rows
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.serving.canary_releases import describe_canary
from fine_tune_assets.serving.engine_start import running_program
from fine_tune_assets.serving.orphaned_engines import ENGINES_FOLDER
from fine_tune_assets.serving.release_probes import result_from_json
from fine_tune_assets.serving.rollout import describe_rollback
from fine_tune_assets.serving.services import read_service_states

_LABEL_WIDTH = 15


@click.command()
@json_option
def status(is_json: bool) -> None:
    """Show the production model and the services."""
    show_status(load_settings(), is_json=is_json)


def show_status(settings: Settings, *, is_json: bool = False) -> None:
    found = _read_status(settings)
    if is_json:
        show_json(found)
        return
    production = found["production"]
    if found["other_lines"]:
        others = ", ".join(found["other_lines"])
        _show("Product line", name_line(f"{found['line']}  (others: {others}; `fine-tune lines list`)"))
    if production is None:
        _show("Production", "none")
    else:
        imported = f"  (imported, key {short(production['import_key'])})" if production["import_key"] else ""
        _show("Production", f"{production['release_id']}{imported}")
        _show("Colour", production["colour"])
        _show("Engine", f"{'up' if production['is_engine_up'] else 'none'}  ({production['engine']})")
        _show("Probes", production["probes"])
        for warning in production["warnings"]:
            _show("Warning", warning)
    _show("Gateway", found["gateway"])
    _show("Desk", found["desk"])
    for other in found["deployments"]:
        words = f"{other['colour']} {other['release_id']} {other['state']} {other['detail']}".rstrip()
        _show("Deployment", words)
        if other["canary"]:
            _show("Canary", other["canary"])
    _show("Rollback", found["rollback"])
    if found["left_out"] is None:
        _show("Left out", "unknown: a table can't be read now")
    for row in found["left_out"] or ():
        _show("Left out", name_line(f"{row['text']} {row['remedy']}"))
    if found["waiting"]:
        _show("Waiting", name_line(found["waiting"]))
    if found["failures"] is None:
        _show("Stopped at", name_line("unknown: the Dagster webserver does not run (`fine-tune up dagster-webserver`)"))
    for failure in found["failures"] or ():
        _show(
            "Stopped at",
            f"{failure['asset']}, {failure['check'] or 'its run failed'}: {failure['reason'] or failure['page']}",
        )
    click.echo("Services")
    for service in found["services"]:
        pid = f"pid {service['pid']}" if service["pid"] else ""
        click.echo(f"  {service['name']:<18} {service['state']:<18} {pid:<12} {service['place']}")
    for subject_key in found["unfinished_erasures"]:
        _show("Unfinished", name_line(f"erasure of subject {subject_key}: run `fine-tune subjects erase` again"))


def _show(label: str, text: str) -> None:
    click.echo(f"{label:<{_LABEL_WIDTH}}{text}")


def _read_status(settings: Settings) -> dict[str, Any]:
    with closing(open_ledger(settings)) as ledger:
        known = list_deployments(ledger)
        live = next((one for one in known if one.state == "live"), None)
        others = [
            one for one in known if one.state != "live" and (one.state not in ("stopped", "failed") or one is known[-1])
        ]
        return {
            "production": None if live is None else _read_production(settings, ledger, live),
            "gateway": f"{settings.gateway_address}/v1",
            "desk": settings.desk_address,
            "deployments": [
                {
                    "deployment_id": one.deployment_id,
                    "release_id": one.release_id,
                    "colour": one.colour,
                    "state": one.state,
                    "detail": one.detail,
                    "canary": describe_canary(ledger, one.deployment_id, one.release_id),
                }
                for one in others
            ],
            "rollback": describe_rollback(find_rollback_target(ledger)),
            "left_out": _read_left_out(settings),
            "waiting": _read_waiting(settings),
            "failures": _read_failures(settings),
            "line": settings.line or MAIN_LINE,
            "other_lines": [name or MAIN_LINE for name in ("", *list_lines(settings)) if name != settings.line],
            "unfinished_erasures": [one.subject_key for one in list_erasures(ledger) if not one.is_finished],
            "services": [
                {
                    "name": one.name,
                    "state": "up" if one.is_up else "starting or stuck" if one.is_running else "stopped",
                    "pid": one.pid,
                    "place": one.url or str(one.log),
                }
                for one in read_service_states(settings)
            ],
        }


def _read_failures(settings: Settings) -> list[dict[str, str]] | None:
    """Failed runs and gates, which stop what follows. None if the Dagster webserver does not answer."""
    try:
        failures = list_failures(settings.installation.layout.run, settings.line)
    except httpx.HTTPError:
        return None
    return [
        {
            "asset": one.asset,
            "check": one.check,
            "reason": one.reason,
            "page": f"{settings.installation.desk_address}{one.path}",
        }
        for one in failures
    ]


def _read_waiting(settings: Settings) -> str | None:
    """None also if the recipe or the table can't be read; other lines of the status say so."""
    try:
        return describe_first_set_wait(settings.layout, load_recipe(settings.recipe))
    except (RecipeError, OSError, pa.ArrowInvalid):
        return None


def _read_left_out(settings: Settings) -> list[dict[str, Any]] | None:
    """None if a table can't be read: it is being replaced, or damaged."""
    try:
        return [asdict(row) for row in list_all_left_out(settings)]
    except (TableError, OSError, pa.ArrowInvalid):
        return None


def _read_production(settings: Settings, ledger: Ledger, live: Deployment) -> dict[str, Any]:
    release = find_release(ledger, live.release_id)
    try:
        engine = read_release(settings.data_dir / release.folder).engine if release is not None else ""
        folder = settings.layout.run / ENGINES_FOLDER / live.deployment_id
        program = running_program(folder, engine, settings).description
    except FineTuneError as error:
        program = str(error)
    probes = result_from_json(live.probes)
    return {
        "release_id": live.release_id,
        "import_key": find_import_key(ledger, live.release_id),
        "colour": live.colour,
        "is_engine_up": bool(live.engine_url),
        "engine": program,
        "probes": probes.summary if probes is not None else "not probed yet",
        "warnings": _read_warnings(settings, ledger, live.release_id),
    }


def _read_warnings(settings: Settings, ledger: Ledger, release_id: str) -> list[str]:
    found = []
    if erased := sum(mark.is_trained_on for mark in list_release_marks(ledger, release_id)):
        found.append(
            name_line(f"trained on {erased} subjects who were erased since: run `fine-tune materialize adapters+`")
        )
    try:
        release = find_release(ledger, release_id)
        rows = None if release is None else read_learned_rows(settings.layout, ledger, release)
        lapse = find_current_lapse(settings, ledger)
        if lapsed := sum(lapse(row) is not None for row in rows or ()):
            found.append(
                name_line(
                    f"trained on {lapsed} examples that are no longer approved: run `fine-tune materialize adapters+`"
                )
            )
    except RecipeError as error:  # a recipe that is being edited must not hide the production model
        found.append(f"approvals unknown: {error}")
    return found
