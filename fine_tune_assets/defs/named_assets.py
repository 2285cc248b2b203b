"""Assets that a person asked for by name while the daemon runs: `fine-tune materialize ASSET` leaves a request, and the sensor
starts its runs.

Belongs here: the requests and the sensor. Must stay out: which assets follow; the automation conditions see to that.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from fine_tune_assets.core.files import write_text
from fine_tune_assets.defs.local_run import UnknownAssetError, named_runs
from fine_tune_assets.defs.platform.resources import Installation

INTERVAL_SECONDS = 5
_FOLDER = "named_assets"
"""Below the run folder. A request is a JSON list of names; its file is named by the time, so that names sort."""


def request_assets(run_folder: Path, assets: Sequence[str]) -> None:
    """Leave a request for the daemon."""
    folder = run_folder / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{time.time_ns():020}.json", json.dumps(list(assets)))


@dg.sensor(
    target=dg.AssetSelection.all(),
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the assets that somebody asked for by name: `fine-tune materialize ASSET`.",
)
def named_assets_requested(
    context: dg.SensorEvaluationContext, installation: Installation
) -> dg.SensorResult | dg.SkipReason:
    """A request is removed once the cursor has passed it: a tick that is cut off loses none and starts none twice."""
    waiting = []
    for path in sorted((installation.layout.run / _FOLDER).glob("*.json")):
        if path.name <= (context.cursor or ""):
            path.unlink(missing_ok=True)
        else:
            waiting.append(path)
    if not waiting:
        return dg.SkipReason("Nobody asked for an asset by name.")
    return dg.SensorResult(
        run_requests=[request for path in waiting for request in _requests(context, path)], cursor=waiting[-1].name
    )


def _requests(context: dg.SensorEvaluationContext, path: Path) -> list[dg.RunRequest]:
    assert context.repository_def is not None
    try:
        runs = named_runs(
            context.repository_def.asset_graph, context.instance, json.loads(path.read_text(encoding="utf-8"))
        )
    except UnknownAssetError as error:  # asked of a version that still had it
        context.log.error(str(error))
        return []
    return [
        dg.RunRequest(
            run_key=f"{path.stem} {partition or ''}",
            asset_selection=[dg.AssetKey.from_user_string(name) for name in assets],
            partition_key=partition,
            tags={"trigger": "named"},
        )
        for partition, assets in runs
    ]
