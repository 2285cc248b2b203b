"""Unsloth trains the same as TRL in its own environment; if it cannot, nothing is trained."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.defs.platform.resources import Worker
from fine_tune_assets.defs.s06_adapters.adapters import _training_metadata as shown_of_training
from fine_tune_assets.training.__main__ import train
from fine_tune_assets.training.failures import TrainingError
from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model, instruction_set, train_request
from fine_tune_assets_tests.training.unsloth_python import UNSLOTH, needs_unsloth


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("engines")
    base_model(root / "base", 1.0)
    write_table(root / "set.parquet", instruction_set(train=12, validation=4))
    return root


def _trained(request: dict[str, Any], python: Path | None) -> dict[str, Any]:
    """The result of a training that an asset requests from the worker as `adapters` does."""
    found: dict[str, Any] = {}

    @dg.asset
    def trained(context: dg.AssetExecutionContext, worker: Worker) -> dg.MaterializeResult[None]:
        found.update(worker.run_once(context, "training", request, python))
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([trained], resources={"worker": Worker()}, instance=instance)
    return found


@needs_unsloth
@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_both_engines_train_the_same_in_both_environments(inputs: Path, tmp_path: Path, method: Any) -> None:
    """An adapter's quality must not depend on the library; Unsloth's environment has older versions."""
    settings = replace(SETTINGS, method=method, epochs=3, learning_rate=5e-3)
    ways = {"trl": None, "trl, older versions": UNSLOTH, "unsloth": UNSLOTH}
    trl, older, unsloth = (
        _trained(train_request(inputs, tmp_path / way, replace(settings, engine=way.partition(",")[0])), python)
        for way, python in ways.items()
    )
    assert older["adapter_id"] == trl["adapter_id"]
    assert unsloth["libraries"]["unsloth"]
    assert unsloth["first_validation_loss"] == pytest.approx(trl["first_validation_loss"], abs=1e-3)
    assert unsloth["best_validation_loss"] == pytest.approx(trl["best_validation_loss"], abs=5e-3)
    assert unsloth["best_validation_loss"] < unsloth["first_validation_loss"] - 0.01
    assert [p["step"] for p in unsloth["curve"]] == [p["step"] for p in trl["curve"]]
    configs = [json.loads((Path(way["folder"]) / "adapter_config.json").read_text()) for way in (trl, unsloth)]
    assert configs[0] == configs[1]


@needs_unsloth
@pytest.mark.slow
def test_its_adapter_loads_without_unsloth_and_differs_from_the_base(inputs: Path, tmp_path: Path) -> None:
    """Judging, merging and serving do not use Unsloth."""
    import torch

    from fine_tune_assets.engines.transformers_models import load_adapted

    request = train_request(inputs, tmp_path, replace(SETTINGS, engine="unsloth", epochs=3, learning_rate=5e-3))
    trained = _trained(request, UNSLOTH)
    model: Any = load_adapted(inputs / "base", Path(trained["folder"]))
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        adapted = model(input_ids=ids).logits
        with model.disable_adapter():
            base = model(input_ids=ids).logits
    assert trained["base_kl_divergence"] > 1e-4
    assert not torch.equal(adapted, base)


# Kills itself with SIGKILL after the given step.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.training.__main__ import train

def progress(done, total, what):
    if done == kill_at and "optimizer steps" in what:
        os.kill(os.getpid(), signal.SIGKILL)

request, kill_at = json.loads(sys.argv[1]), int(sys.argv[2])
go_offline()
print(json.dumps(train(request, progress)))
"""


@needs_unsloth
@pytest.mark.slow
def test_a_killed_training_with_unsloth_ends_with_the_same_weights(inputs: Path, tmp_path: Path) -> None:
    """As with TRL, a power failure must not change the served model."""
    settings = replace(SETTINGS, engine="unsloth", epochs=2, dropout=0.1, checkpoint_minutes=0.0)

    def run(name: str, kill_at: int) -> dict[str, Any]:
        command = [
            str(UNSLOTH),
            "-c",
            KILLED,
            json.dumps(train_request(inputs, tmp_path / name, settings)),
            str(kill_at),
        ]
        environment = {**os.environ, **OFFLINE_ENVIRONMENT, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, check=False)
        return dict(json.loads(done.stdout.strip().splitlines()[-1])) if done.returncode == 0 else {}

    uninterrupted = run("whole", kill_at=-1)
    assert run("killed", kill_at=7) == {}
    resumed = run("killed", kill_at=-1)
    assert resumed["resumed_from_step"] >= 6
    assert resumed["adapter_id"] == uninterrupted["adapter_id"]


@needs_unsloth
@pytest.mark.slow
def test_a_run_without_a_gpu_reports_what_to_do(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error passes from the import in the worker through Pipes to the run."""
    monkeypatch.setenv("UNSLOTH_DISABLE_CPU_FALLBACK", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(dg.Failure, match=r"TrainingError: Unsloth .*training\.engine: trl") as failed:
        _trained(train_request(inputs, tmp_path, replace(SETTINGS, engine="unsloth")), UNSLOTH)
    assert failed.value.allow_retries is False
    assert not (tmp_path / "adapters").exists()


@pytest.mark.slow
def test_a_missing_package_is_not_replaced_by_another_engine(inputs: Path, tmp_path: Path) -> None:
    """The recipe says Unsloth: an adapter trained by TRL would be recorded wrongly."""
    with pytest.raises(dg.Failure, match=r"TrainingError: .*unsloth.*make setup-unsloth"):
        _trained(train_request(inputs, tmp_path, replace(SETTINGS, engine="unsloth")), None)
    assert not (tmp_path / "adapters").exists()


@pytest.mark.slow
def test_another_engine_has_other_checkpoints(inputs: Path) -> None:
    """One engine must not resume the other's."""
    import pyarrow.parquet as pq

    from fine_tune_assets.training.lora.trainer import training_key

    table = pq.read_table(inputs / "set.parquet")
    keys = {training_key(table, "base-1", replace(SETTINGS, engine=engine)) for engine in ("trl", "unsloth")}
    assert len(keys) == 2


@pytest.mark.slow
def test_an_adapters_metadata_names_the_engine_and_its_versions(inputs: Path, tmp_path: Path) -> None:
    """The versions of the environment that trained it."""
    from importlib.metadata import version

    shown = shown_of_training(train(train_request(inputs, tmp_path, SETTINGS), ignore_progress))
    assert shown["engine"] == "trl"
    assert f"trl {version('trl')}" in shown["libraries"]
    assert f"transformers {version('transformers')}" in shown["libraries"]


@pytest.mark.slow
def test_unsloth_is_refused_after_the_libraries_that_it_patches(inputs: Path, tmp_path: Path) -> None:
    """Imported too late, it only warns and trains slowly with half of its patches."""
    import trl  # noqa: F401

    request = train_request(inputs, tmp_path, replace(SETTINGS, engine="unsloth"))
    with pytest.raises(TrainingError, match=r"\btrl\b"):
        train(request, ignore_progress)


@pytest.mark.slow
def test_rows_longer_than_the_models_context_are_refused(inputs: Path) -> None:
    """Unsloth would scale the positions, but the served model would not."""
    from fine_tune_assets.training.lora.unsloth_engine import require_context_fits

    require_context_fits(inputs / "base", 2048)
    with pytest.raises(TrainingError, match="2048"):
        require_context_fits(inputs / "base", 2049)


def test_a_trainer_with_changed_arguments_is_refused() -> None:
    """Unsloth may turn on packing or an 8-bit optimizer and only prints a line about it."""
    from fine_tune_assets.training.lora.unsloth_engine import require_same_arguments

    expected = {"optim": "adamw_torch_fused", "padding_free": False}
    require_same_arguments(SimpleNamespace(optim="adamw_torch_fused", padding_free=False), expected)
    with pytest.raises(TrainingError, match="optim, padding_free"):
        require_same_arguments(SimpleNamespace(optim="adamw_8bit", padding_free=True), expected)


@pytest.mark.slow
def test_a_base_model_with_another_quantization_is_refused() -> None:
    """Unsloth falls back to 16 bits if 4 bits fail, but the recipe says QLoRA and the plan has its memory."""
    from bitsandbytes.nn import Linear4bit
    from torch.nn import Linear, Sequential

    from fine_tune_assets.training.lora.unsloth_engine import require_quantized

    packed, plain = Sequential(Linear4bit(64, 64)), Sequential(Linear(64, 64))
    require_quantized(packed, True)
    require_quantized(plain, False)
    with pytest.raises(TrainingError, match=r"16 .*\b4\b"):
        require_quantized(plain, True)
    with pytest.raises(TrainingError, match=r"\b4 .*\b16\b"):
        require_quantized(packed, False)


@needs_unsloth
@pytest.mark.gpu
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_on_a_gpu_unsloth_trains_the_same_as_trl(smollm2: Path, tmp_path: Path, method: Any) -> None:
    """Covers Unsloth's kernels, which need a GPU: this test has not been run yet."""
    (tmp_path / "base").symlink_to(smollm2)
    write_table(tmp_path / "set.parquet", instruction_set(train=64, validation=8))
    settings = replace(SETTINGS, method=method, rank=16, alpha=32, epochs=3, learning_rate=5e-4, batch_size=4)
    trl = _trained(train_request(tmp_path, tmp_path / "trl", settings), None)
    unsloth = _trained(train_request(tmp_path, tmp_path / "unsloth", replace(settings, engine="unsloth")), UNSLOTH)
    # In bfloat16 the engines round differently.
    assert unsloth["first_validation_loss"] == pytest.approx(trl["first_validation_loss"], abs=0.03)
    assert unsloth["best_validation_loss"] < unsloth["first_validation_loss"] - 0.1
    assert unsloth["best_validation_loss"] == pytest.approx(trl["best_validation_loss"], abs=0.1)
    from fine_tune_assets.engines.transformers_models import load_adapted

    load_adapted(tmp_path / "base", Path(unsloth["folder"]), is_quantized=method == "qlora")
