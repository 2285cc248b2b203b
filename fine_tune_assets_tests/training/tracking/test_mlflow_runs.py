"""A finished training is told once, as it was, and never at the cost of the adapter."""

import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from fine_tune_assets.training.tracking.mlflow_runs import MOST_POINTS, TrackedTraining, shown_uri, track

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
    figures={"best_validation_loss": 1.5},
)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'runs.db'}"


def _runs(uri: str, experiment: str) -> list[Any]:
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def test_a_run_has_the_parameters_the_curve_and_the_fingerprints(uri: str) -> None:
    """Named by the adapter, so that a run and a folder are found from each other."""
    tracked = track(TRAINING, uri)
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


def test_a_step_that_is_tried_again_makes_no_second_run(uri: str) -> None:
    """A run that was cut off half way is made again; the same adapter of another set is another training."""
    told = replace(TRAINING, experiment="again")
    first = track(told, uri)
    assert track(told, uri) == first
    client = MlflowClient(tracking_uri=uri)
    client.set_terminated(first.run_id or "", "FAILED")
    second = track(told, uri)
    assert [run.info.run_id for run in _runs(uri, "again")] == [second.run_id]
    track(replace(told, tags={**told.tags, "instruction_set_fingerprint": "e" * 64}), uri)
    assert len(_runs(uri, "again")) == 2


def test_a_long_curve_is_told_whole(uri: str) -> None:
    """MLflow refuses more than a thousand points at once."""
    curve = [{"step": float(step), "loss": 1.0 / (step + 1)} for step in range(MOST_POINTS + 500)]
    tracked = track(replace(TRAINING, experiment="long", curve=curve), uri)
    history = MlflowClient(tracking_uri=uri).get_metric_history(tracked.run_id or "", "loss")
    assert [(point.step, point.value) for point in history] == [(p["step"], p["loss"]) for p in curve]


def test_a_server_that_is_not_there_is_named_and_raises_nothing() -> None:
    """The adapter is stored by then, and worth more than its entry. Without the password that stands in the address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    tracked = track(TRAINING, f"http://somebody:secret@127.0.0.1:{port}")
    assert tracked.run_id is None
    assert f"http://127.0.0.1:{port} did not take it" in tracked.why_not
    assert "secret" not in tracked.why_not


def test_a_database_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    """A path with a typing error in it."""
    (tmp_path / "file").write_text("")
    tracked = track(TRAINING, f"sqlite:///{tmp_path / 'file' / 'runs.db'}")
    assert tracked.run_id is None
    assert "did not take it" in tracked.why_not


@pytest.mark.parametrize(("uri", "said"), [("", "is empty"), ("runs", "sqlite:"), ("file:///runs", "sqlite:")])
def test_without_a_place_to_tell_it_is_said_why(uri: str, said: str) -> None:
    """MLflow keeps no runs in folders any more."""
    tracked = track(TRAINING, uri)
    assert tracked.run_id is None
    assert said in tracked.why_not


def test_an_address_is_shown_without_its_password() -> None:
    """Metadata is read by everybody who sees the Dagster UI."""
    assert shown_uri("postgresql://me:secret@db.internal:5432/runs?x=secret") == "postgresql://db.internal:5432/runs"
    assert shown_uri("sqlite:////srv/runs.db") == "sqlite:////srv/runs.db"
