"""Reports a finished training to MLflow as a run: parameters, curve, metrics, and fingerprints of its inputs.

Each adapter and instruction set is reported once. Never sends text of examples or prompts. An MLflow failure never fails the
training.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fine_tune_assets.core.extras import MissingExtraError, require_extra
from fine_tune_assets.core.fingerprints import short

if TYPE_CHECKING:
    from mlflow import MlflowClient

MLFLOW_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's default is eight retries with timeouts of two minutes each, which would block a GPU."""
MAX_POINTS = 1000
"""MLflow's maximum per request."""
_FINISHED = "FINISHED"


@dataclass(frozen=True)
class TrackedTraining:
    """The data that is sent for one training."""

    experiment: str
    adapter_id: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    """Fingerprints and names; must include `instruction_set_fingerprint`."""
    curve: Sequence[Mapping[str, float]]
    """Points with `step`."""
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class TrackingResult:
    run_id: str | None
    """None if it was not reported."""
    skip_reason: str = ""


def track_training(training: TrackedTraining, uri: str) -> TrackingResult:
    """Report the training unless it was reported before. Never raises; `skip_reason` explains a missing run."""
    if not uri:
        return TrackingResult(None, "FINE_TUNE_MLFLOW_URI is empty.")
    if urlsplit(uri).scheme in ("", "file"):
        return TrackingResult(
            None, "MLflow does not support folders. Set FINE_TUNE_MLFLOW_URI to sqlite:////PATH/runs.db."
        )
    os.environ.update(MLFLOW_ENVIRONMENT)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it logs every table that it creates
    try:
        with require_extra("Reporting to MLflow"):
            from mlflow import MlflowClient
    except MissingExtraError as error:
        return TrackingResult(None, str(error))
    try:
        return TrackingResult(_log_run(MlflowClient(tracking_uri=uri), training))
    # A tracking server or its database can raise anything; the adapter matters more than its run.
    except Exception as error:  # noqa: BLE001
        return TrackingResult(None, f"{redact_uri(uri)} did not accept the run ({type(error).__name__}).")


def redact_uri(uri: str) -> str:
    """Without user name and password."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _log_run(client: "MlflowClient", training: TrackedTraining) -> str:
    experiment = _experiment_id(client, training.experiment)
    for run in _find_runs(client, experiment, training):
        if run.info.status == _FINISHED:
            return str(run.info.run_id)
        client.delete_run(run.info.run_id)  # interrupted
    tags = {**training.tags, "adapter_id": training.adapter_id}
    run = client.create_run(experiment, run_name=short(training.adapter_id), tags=tags)
    run_id = str(run.info.run_id)
    for batch in _log_batches(training):
        client.log_batch(run_id, **batch)
    client.set_terminated(run_id, _FINISHED)
    return run_id


def _experiment_id(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _find_runs(client: "MlflowClient", experiment: str, training: TrackedTraining) -> Sequence[Any]:
    expected = {"adapter_id": training.adapter_id, **training.tags}
    names = ("adapter_id", "instruction_set_fingerprint")
    return client.search_runs([experiment], " and ".join(f"tags.{name} = '{expected[name]}'" for name in names))


def _log_batches(training: TrackedTraining) -> Iterator[dict[str, Any]]:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    points = [
        Metric(name, float(value), now, int(point["step"]))
        for point in training.curve
        for name, value in point.items()
        if name != "step"
    ]
    points += [Metric(name, float(value), now, 0) for name, value in training.metrics.items()]
    yield {"params": [Param(name, str(value)) for name, value in training.params.items()]}
    for start in range(0, len(points), MAX_POINTS):
        yield {"metrics": points[start : start + MAX_POINTS]}
