"""A feature whose optional package is missing names the command that installs it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from fine_tune_assets.core.extras import MissingExtraError, require_extra
from fine_tune_assets.core.settings import Settings

COMMAND = "`make setup-extras`"
Hide = Callable[[str], None]


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Hide:
    """Simulate a package that is not installed: None in `sys.modules` makes its import fail."""

    def hidden(package: str) -> None:
        loaded = [name for name in sys.modules if name.startswith(f"{package}.")]
        for name in (package, *loaded):
            monkeypatch.setitem(sys.modules, name, None)

    return hidden


def test_an_import_that_belongs_to_no_extra_fails_normally() -> None:
    """Installing an extra does not repair a damaged installation."""
    with pytest.raises(ModuleNotFoundError), require_extra("QLoRA"):
        import surely_not_installed  # type: ignore[import-not-found]  # noqa: F401


def test_a_qlora_base_is_not_loaded(hide: Hide, tmp_path: Path) -> None:
    """The check comes before the model is read."""
    from fine_tune_assets.engines.transformers_models import load_model

    hide("bitsandbytes")
    with pytest.raises(MissingExtraError, match=COMMAND):
        load_model(tmp_path, is_quantized=True)


def test_a_qlora_model_is_not_prepared(hide: Hide) -> None:
    import torch

    from fine_tune_assets.training.lora.peft_adapters import disable_cpu_repacking

    hide("bitsandbytes")
    with pytest.raises(MissingExtraError, match=COMMAND):
        disable_cpu_repacking(torch.nn.Linear(2, 2))


def test_a_qlora_adapter_is_not_merged(hide: Hide) -> None:
    import torch

    from fine_tune_assets.engines.nf4 import SUPPORTED, round_trip

    hide("bitsandbytes")
    with pytest.raises(MissingExtraError, match=COMMAND):
        round_trip(torch.zeros(64, 64), SUPPORTED, "cpu")


def test_a_cluster_job_is_not_submitted(hide: Hide, tmp_path: Path) -> None:
    """The step fails without retries, which would not install it."""
    from fine_tune_assets.defs.platform.ray_cluster import run_on_cluster

    hide("dagster_ray")
    settings = Settings(data_dir=tmp_path, ray={"address": "http://127.0.0.1:8265"})
    with pytest.raises(dg.Failure, match=COMMAND) as failed:
        run_on_cluster(dg.build_asset_context(), "training", {}, settings)
    assert failed.value.allow_retries is False


def test_a_node_without_ray_does_not_train(hide: Hide) -> None:
    from fine_tune_assets.core.progress import ignore_progress
    from fine_tune_assets.training.distributed.ray_launch import train_on_cluster

    hide("ray")
    with pytest.raises(MissingExtraError, match=COMMAND):
        train_on_cluster({}, ignore_progress)


def test_a_training_without_mlflow_is_kept_untracked(hide: Hide, tmp_path: Path) -> None:
    """The adapter matters more than its MLflow run."""
    from fine_tune_assets.training.tracking.mlflow_runs import TrackedTraining, track_training

    hide("mlflow")
    tracked = track_training(TrackedTraining("demo", "a" * 64, {}, {}, (), {}), f"sqlite:///{tmp_path}/runs.db")
    assert tracked.run_id is None
    assert COMMAND in tracked.skip_reason


def test_a_tagger_is_not_trained() -> None:
    """In a separate process, since drawn values are cached."""
    program = (
        "import sys; sys.modules['faker'] = None\n"
        "from fine_tune_assets.core.extras import MissingExtraError\n"
        "from fine_tune_assets.phi.tagger_training.synthetic.synthetic_values import SyntheticValues\n"
        "try:\n    SyntheticValues(1)\nexcept MissingExtraError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert COMMAND in done.stdout
