"""A finished training is reported to MLflow once, and never at the cost of the adapter."""

import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from fine_tune_assets.training.tracking.mlflow_runs import MAX_POINTS, TrackedTraining, redact_uri, track_training

TRAINING = TrackedTraining(
    experiment="demo",
    adapter_id="a" * 64,
    params={"rank": 16, "learning_rate": 1e-3, "target_modules": ("q_proj", "v_proj"), "base_fingerprint": "b" * 64},
    tags={"instruction_set_fingerprint": "c" * 64, "prompt_fingerprint": "d" * 64, "base_model": "tiny"},
    curve=(
        {"step": 0.0, "eval_loss": 3.0},
        {"step": 1.0, "loss": 2.5, "learning_rate": 1e-3},
        {"step": 2.0, "loss": 2.0},
    ),
    metrics={"best_validation_loss": 1.5},
)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'runs.db'}"


def _runs(uri: str, experiment: str) -> list[Any]:
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def test_a_run_has_the_parameters_the_curve_and_the_fingerprints(uri: str) -> None:
    """The run is named by the adapter, so that people can find one from the other."""
    tracked = track_training(TRAINING, uri)
    (run,) = _runs(uri, "demo")
    assert run.info.run_id == tracked.run_id
    assert run.info.run_name == "a" * 16
    assert run.info.status == "FINISHED"
    assert run.data.params == {name: str(value) for name, value in TRAINING.params.items()}
    assert {name: run.data.tags[name] for name in TRAINING.tags} == TRAINING.tags
    assert run.data.tags["adapter_id"] == TRAINING.adapter_id
    assert run.data.metrics["best_validation_loss"] == 1.5
    history = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.5), (2, 2.0)]


def test_a_retried_step_creates_no_second_run(uri: str) -> None:
    """An interrupted run is replaced; the same adapter from another set is another training."""
    training = replace(TRAINING, experiment="again")
    first = track_training(training, uri)
    assert track_training(training, uri) == first
    client = MlflowClient(tracking_uri=uri)
    client.set_terminated(first.run_id or "", "FAILED")
    second = track_training(training, uri)
    assert [run.info.run_id for run in _runs(uri, "again")] == [second.run_id]
    track_training(replace(training, tags={**training.tags, "instruction_set_fingerprint": "e" * 64}), uri)
    assert len(_runs(uri, "again")) == 2


def test_a_long_curve_is_reported_completely(uri: str) -> None:
    """MLflow accepts at most a thousand points per request."""
    curve = [{"step": float(step), "loss": 1.0 / (step + 1)} for step in range(MAX_POINTS + 500)]
    tracked = track_training(replace(TRAINING, experiment="long", curve=curve), uri)
    history = MlflowClient(tracking_uri=uri).get_metric_history(tracked.run_id or "", "loss")
    assert [(point.step, point.value) for point in history] == [(p["step"], p["loss"]) for p in curve]


def test_an_unreachable_server_is_named_without_raising() -> None:
    """The adapter is already stored and matters more than its run. The password in the address must not appear."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    tracked = track_training(TRAINING, f"http://user:secret@127.0.0.1:{port}")
    assert tracked.run_id is None
    assert f"http://127.0.0.1:{port}" in tracked.skip_reason
    assert "secret" not in tracked.skip_reason


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """As after a typing error in the path."""
    (tmp_path / "file").write_text("")
    tracked = track_training(TRAINING, f"sqlite:///{tmp_path / 'file' / 'runs.db'}")
    assert tracked.run_id is None
    assert "runs.db" in tracked.skip_reason


@pytest.mark.parametrize(
    ("uri", "setting"), [("", "FINE_TUNE_MLFLOW_URI"), ("runs", "sqlite:"), ("file:///runs", "sqlite:")]
)
def test_an_unusable_address_is_reported_with_the_setting(uri: str, setting: str) -> None:
    """MLflow does not support folders."""
    tracked = track_training(TRAINING, uri)
    assert tracked.run_id is None
    assert setting in tracked.skip_reason


def test_an_address_is_shown_without_its_password() -> None:
    """All users of the Dagster UI can read metadata."""
    assert redact_uri("postgresql://me:secret@db.internal:5432/runs?x=secret") == "postgresql://db.internal:5432/runs"
    assert redact_uri("sqlite:////srv/runs.db") == "sqlite:////srv/runs.db"
