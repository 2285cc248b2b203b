"""A code location with one asset that trains like `adapters`, on the contents of the data folder, and starts automatically."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.defs.platform.automation import build_automation_sensor, on_new_inputs
from fine_tune_assets.defs.platform.resources import Worker, retry_when_killed
from fine_tune_assets.defs.s06_adapters.adapters import GPU
from fine_tune_assets_tests.training.tiny_training import SETTINGS, train_request

TRAINING = replace(SETTINGS, epochs=5, dropout=0.1, checkpoint_minutes=0.0)
"""A checkpoint after each of 45 steps: about three seconds, which gives the test time to kill the process."""


def training_request(data: Path) -> dict[str, Any]:
    return train_request(data, data, TRAINING)


@dg.asset(pool=GPU, automation_condition=on_new_inputs())
def trained(context: dg.AssetExecutionContext, worker: Worker) -> dg.MaterializeResult[None]:
    with retry_when_killed():
        result = worker.run(context, "training", training_request(load_settings().data_dir))
    return dg.MaterializeResult(metadata={n: result[n] or 0 for n in ("adapter_id", "resumed_from_step", "steps")})


defs = dg.Definitions(
    assets=[trained],
    sensors=[build_automation_sensor({})],
    resources={"worker": Worker()},
    executor=dg.in_process_executor,
)
