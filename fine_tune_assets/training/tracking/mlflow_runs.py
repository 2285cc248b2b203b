"""A finished training as a run of MLflow: parameters, curve, figures, and fingerprints of what it was made from.

Owns what is told and that it is told once: a run is found again by its adapter and instruction set. No text of examples or
prompts, only fingerprints. A tracking server that does not answer costs its answer, never the adapter.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fine_tune_assets.core.extras import MissingExtraError, extra_for
from fine_tune_assets.core.fingerprints import short

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""By itself MLflow asks eight times and waits two minutes for each; nobody's GPU should wait for that."""
MOST_POINTS = 1000
"""That MLflow takes in one request."""
_FINISHED = "FINISHED"


@dataclass(frozen=True)
class TrackedTraining:
    """What is told of one training."""

    experiment: str
    adapter_id: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    """Fingerprints and names; with `instruction_set_fingerprint`."""
    curve: Sequence[Mapping[str, float]]
    """Points with `step`."""
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Tracked:
    run_id: str | None
    """None: it was not tracked."""
    why_not: str = ""


def track(training: TrackedTraining, uri: str) -> Tracked:
    """Tell it, unless it was told before. Never raises: `why_not` is for the log and for people."""
    if not uri:
        return Tracked(None, "FINE_TUNE_MLFLOW_URI is empty.")
    if urlsplit(uri).scheme in ("", "file"):
        return Tracked(
            None, "MLflow keeps no runs in folders any more. Set FINE_TUNE_MLFLOW_URI to sqlite:////PATH/runs.db."
        )
    os.environ.update(PATIENCE)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every table that it makes
    try:
        with extra_for("Reporting to MLflow"):
            from mlflow import MlflowClient
    except MissingExtraError as error:
        return Tracked(None, str(error))
    try:
        return Tracked(_tell(MlflowClient(tracking_uri=uri), training))
    # Whatever a foreign server or its database says: the adapter is worth more than its entry.
    except Exception as error:  # noqa: BLE001
        return Tracked(None, f"{shown_uri(uri)} did not take it ({type(error).__name__}).")


def shown_uri(uri: str) -> str:
    """Without a password in it."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _tell(client: "MlflowClient", training: TrackedTraining) -> str:
    experiment = _experiment(client, training.experiment)
    for run in _runs_of(client, experiment, training):
        if run.info.status == _FINISHED:
            return str(run.info.run_id)
        client.delete_run(run.info.run_id)  # cut off half way
    tags = {**training.tags, "adapter_id": training.adapter_id}
    run = client.create_run(experiment, run_name=short(training.adapter_id), tags=tags)
    run_id = str(run.info.run_id)
    for batch in _batches(training):
        client.log_batch(run_id, **batch)
    client.set_terminated(run_id, _FINISHED)
    return run_id


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _runs_of(client: "MlflowClient", experiment: str, training: TrackedTraining) -> Sequence[Any]:
    wanted = {"adapter_id": training.adapter_id, **training.tags}
    names = ("adapter_id", "instruction_set_fingerprint")
    return client.search_runs([experiment], " and ".join(f"tags.{name} = '{wanted[name]}'" for name in names))


def _batches(training: TrackedTraining) -> Iterator[dict[str, Any]]:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    points = [
        Metric(name, float(value), now, int(point["step"]))
        for point in training.curve
        for name, value in point.items()
        if name != "step"
    ]
    points += [Metric(name, float(value), now, 0) for name, value in training.figures.items()]
    yield {"params": [Param(name, str(value)) for name, value in training.params.items()]}
    for start in range(0, len(points), MOST_POINTS):
        yield {"metrics": points[start : start + MOST_POINTS]}
