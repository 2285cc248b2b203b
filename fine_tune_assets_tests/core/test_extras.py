"""Whatever needs a package that is not installed says which command installs it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from fine_tune_assets.core.extras import MissingExtraError, extra_for
from fine_tune_assets.core.settings import Settings

COMMAND = "`make setup-extras`"
Hide = Callable[[str], None]


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Hide:
    """As if a package were not installed: Python's own mark for a module that can't be imported."""

    def hidden(package: str) -> None:
        loaded = [name for name in sys.modules if name.startswith(f"{package}.")]
        for name in (package, *loaded):
            monkeypatch.setitem(sys.modules, name, None)

    return hidden


def test_an_import_that_is_no_extra_fails_as_before() -> None:
    """A damaged installation is not mended by installing an extra."""
    with pytest.raises(ModuleNotFoundError), extra_for("A sweep"):
        import surely_not_installed  # type: ignore[import-not-found]  # noqa: F401


def test_a_qlora_base_is_not_loaded(hide: Hide, tmp_path: Path) -> None:
    """Before anything of the model is read."""
    from fine_tune_assets.engines.transformers_models import load_model

    hide("bitsandbytes")
    with pytest.raises(MissingExtraError, match=COMMAND):
        load_model(tmp_path, is_quantized=True)


def test_a_qlora_model_is_not_prepared(hide: Hide) -> None:
    import torch

    from fine_tune_assets.training.lora.adapters import keep_weights_differentiable

    hide("bitsandbytes")
    with pytest.raises(MissingExtraError, match=COMMAND):
        keep_weights_differentiable(torch.nn.Linear(2, 2))


def test_a_qlora_adapter_is_not_merged(hide: Hide) -> None:
    import torch

    from fine_tune_assets.engines.nf4 import SUPPORTED, round_trip

    hide("bitsandbytes")
    with pytest.raises(MissingExtraError, match=COMMAND):
        round_trip(torch.zeros(64, 64), SUPPORTED, "cpu")


def test_a_sweep_does_not_begin(hide: Hide, tmp_path: Path) -> None:
    from fine_tune_assets.recipes.sweep import SweepSettings
    from fine_tune_assets.training.sweeps import Sweep

    hide("optuna")
    with pytest.raises(MissingExtraError, match=COMMAND):
        Sweep(tmp_path, "key", SweepSettings(parameters={"rank": (2, 4)}, seed=1))


def test_a_cluster_job_is_not_submitted(hide: Hide, tmp_path: Path) -> None:
    """The step fails for good: trying again would not install it."""
    from fine_tune_assets.defs.platform.ray_cluster import answer_from_cluster

    hide("dagster_ray")
    settings = Settings(data_dir=tmp_path, ray={"address": "http://127.0.0.1:8265"})
    with pytest.raises(dg.Failure, match=COMMAND) as failed:
        answer_from_cluster(dg.build_asset_context(), "training", {}, settings)
    assert failed.value.allow_retries is False


def test_a_node_without_ray_does_not_train(hide: Hide) -> None:
    from fine_tune_assets.core.progress import silent
    from fine_tune_assets.training.distributed.on_ray import train_on_cluster

    hide("ray")
    with pytest.raises(MissingExtraError, match=COMMAND):
        train_on_cluster({}, silent)


def test_a_training_is_kept_and_not_reported(hide: Hide, tmp_path: Path) -> None:
    """The adapter is worth more than its entry in MLflow."""
    from fine_tune_assets.training.tracking.mlflow_runs import TrackedTraining, track

    hide("mlflow")
    tracked = track(TrackedTraining("demo", "a" * 64, {}, {}, (), {}), f"sqlite:///{tmp_path}/runs.db")
    assert tracked.run_id is None
    assert COMMAND in tracked.why_not


def test_a_tagger_is_not_trained() -> None:
    """In a process of its own: what was drawn once is kept."""
    program = (
        "import sys; sys.modules['faker'] = None\n"
        "from fine_tune_assets.core.extras import MissingExtraError\n"
        "from fine_tune_assets.phi.tagger_training.synthetic.values import Values\n"
        "try:\n    Values(1)\nexcept MissingExtraError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert COMMAND in done.stdout
