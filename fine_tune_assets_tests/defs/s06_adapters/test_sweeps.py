"""A sweep in the graph: each trial runs in its own process, the best becomes the adapter, and all are recorded."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s06_adapters.sweeps import TrainingRunner
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.record_factory import made
from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model, instruction_set, train_request

SWEEP = {"parameters": {"alpha": [2, 16, 10**30]}, "seed": 1}
"""The second value gives a lower loss than the first; with the third, the loss becomes NaN."""
SET = "5" * 64


def run_sweep(worker: Worker | None = None) -> dict[str, Any]:
    """Materialize an asset that trains like `adapters`, and return its metadata. Also run in a subprocess that is killed."""

    @dg.asset(name="adapters")
    def trained(context: dg.AssetExecutionContext, worker: Worker) -> dg.MaterializeResult[None]:
        installation = Installation()
        data = installation.layout.data_dir
        request = train_request(data, data, installation.recipe.training)
        request["checkpoints_dir"] = str(installation.layout.training_checkpoints)
        runner = TrainingRunner(context, installation, worker, request, Path(sys.executable), SET, lengths=[])
        result = runner.run()
        installation.stored("sweep_trials").write(runner.trial_table(result["adapter_id"]))
        tracking = runner.track_runs(made(Adapter, base_fingerprint="b", instruction_set_fingerprint=SET), result)
        ids = {"adapter_id": result["adapter_id"], "folder": result["folder"]}
        return dg.MaterializeResult(metadata={**ids, **tracking})

    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([trained], resources={"worker": worker or Worker()}, instance=instance)
        (event,) = run.asset_materializations_for_node("adapters")
        return {name: value.value for name, value in event.metadata.items()}


@pytest.fixture
def data(installation_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    base_model(installation_dir / "base", 1.0)
    write_table(installation_dir / "set.parquet", instruction_set(train=12, validation=2))
    training = asdict(SETTINGS) | {"epochs": 2, "learning_rate": 5e-3, "target_modules": "all-linear"}
    write_recipe(installation_dir, training=training, sweep=SWEEP)
    monkeypatch.setenv("FINE_TUNE_MLFLOW_URI", f"sqlite:///{installation_dir / 'runs.db'}")
    return installation_dir


def _kill_in_the_second_trial() -> None:
    """kill -9 the step, and with it its trainer, during the second trial."""
    code = "from fine_tune_assets_tests.defs.s06_adapters.test_sweeps import run_sweep; run_sweep()"
    step = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT_DIR, stderr=subprocess.DEVNULL)
    sweeps = Installation().layout.sweeps
    while not list(sweeps.glob("*/trial-1.json")):
        assert step.poll() is None
        time.sleep(0.02)
    os.kill(step.pid, signal.SIGKILL)
    step.wait()


def _record(data: Path, trial: int) -> dict[str, Any]:
    (path,) = (data / "sweeps").glob(f"*/trial-{trial}.json")
    return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.long
@pytest.mark.slow  # TRL takes 13 s to import, in every process
def test_a_sweep_resumes_after_a_kill_and_its_best_trial_becomes_the_adapter(data: Path) -> None:
    """Finished trials are not repeated, a NaN loss fails only its trial, and every trial is recorded."""
    _kill_in_the_second_trial()
    before = _record(data, 0)
    assert before["result"] is not None
    assert "rows_too_long" not in before["result"]  # example ids, which an erasure would have to remove
    assert _record(data, 1)["result"] is None
    swept = run_sweep()
    assert _record(data, 0) == before
    rows = Installation().stored("sweep_trials").rows()
    assert [json.loads(row["parameters"])["alpha"] for row in rows] == [2, 16, 10**30]
    assert [row["state"] for row in rows] == ["finished", "finished", "failed"]
    assert "training.learning_rate" in rows[2]["failure_reason"]
    assert rows[2]["best_validation_loss"] is None
    assert rows[1]["best_validation_loss"] < rows[0]["best_validation_loss"]
    assert [row["is_chosen"] for row in rows] == [False, True, False]
    assert swept["adapter_id"] == rows[1]["adapter_id"] == fingerprint_folder(Path(swept["folder"]))
    assert [path.name for path in (data / "adapters").iterdir()] == [short(swept["adapter_id"])]
    assert "| failed | False |" in swept["sweep"]
    events = {path.name for path in (data / "tensorboard").iterdir() if not path.name.startswith("in-progress")}
    assert events == {short(row["adapter_id"]) for row in rows[:2]}
    from mlflow import MlflowClient  # takes seconds

    client = MlflowClient(tracking_uri=Installation().settings.mlflow_uri)
    runs = client.search_runs([client.get_experiment_by_name("demo_smollm2").experiment_id])
    assert {run.data.tags["adapter_id"]: run.data.params["alpha"] for run in runs} == {
        rows[0]["adapter_id"]: "2",
        rows[1]["adapter_id"]: "16",
    }


@pytest.mark.slow  # as above
def test_an_error_that_the_settings_did_not_cause_ends_the_sweep(data: Path) -> None:
    """It would affect every trial, so no trial may be recorded as failed."""
    write_recipe(data, training=asdict(SETTINGS) | {"target_modules": ["c_attn"]}, sweep=SWEEP)
    with pytest.raises(dg.Failure, match=r"training\.target_modules"):
        run_sweep()
    assert _record(data, 0)["reason"] is None


class Dying(Worker):
    """A worker whose process is always killed."""

    def run_once(self, context: dg.AssetExecutionContext, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ARG002
        dg.PipesSubprocessClient().run(context=context, command=["sh", "-c", "kill -9 $$"])
        return {}


def test_a_trial_fails_after_its_process_was_killed_three_times(data: Path) -> None:
    """Otherwise a sweep with a trial that does not fit into memory would never end. If all trials fail, none is kept."""
    with pytest.raises(dg.Failure, match=r"trial 2: .*killed 3 times"):
        run_sweep(Dying())
    assert list((data / "sweeps").iterdir()) == []
