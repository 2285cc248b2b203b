"""The asset shows what the base model is, and what can be done with it, or says what is wrong with its folder."""

from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.defs.platform.resources import Installation, Worker, parquet_io_manager
from fine_tune_assets.defs.s06_adapters.base_models import base_models
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.training.base_models.small_model import write_small_model


def materialize(instance: dg.DagsterInstance, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
    resources = {"installation": Installation(), "worker": Worker(), "io_manager": parquet_io_manager}
    return dg.materialize([base_models], instance=instance, resources=resources, raise_on_error=raise_on_error)


@pytest.fixture
def folder(installation_dir: Path) -> Path:
    """A model in the data folder, as the recipe names one that was imported: below the data folder."""
    write_recipe(installation_dir, base_model={"name": "small", "folder": "base_models/small"})
    return write_small_model(installation_dir / "base_models" / "small")


def test_facts_and_uses_are_shown_and_stored(
    instance: dg.DagsterInstance, installation_dir: Path, folder: Path
) -> None:
    """People read them in the UI before they spend a GPU hour; `folder` may move with the data folder."""
    [event] = materialize(instance).asset_materializations_for_node("base_models")
    assert "serve with vLLM" in str(event.metadata["engine_support"].value)
    assert "| context tokens | 128 |" in str(event.metadata["facts"].value)
    [row] = pq.read_table(installation_dir / "tables" / "base_models" / "base_models.parquet").to_pylist()
    assert row["folder"] == f"base_models/{folder.name}"
    assert (row["licence"], row["stop_tokens"]) == ("Apache-2.0", ["<end>"])
    assert {support["operation"] for support in row["engine_support"]} >= {"train with LoRA or DoRA", "serve with vLLM"}


def test_a_folder_with_other_files_is_not_a_base_model(instance: dg.DagsterInstance, folder: Path) -> None:
    """The recipe may name a folder that was never imported, so its files are checked here too."""
    (folder / "training_args.safetensors").write_bytes(b"")
    failed = materialize(instance, raise_on_error=False)
    assert not failed.success
    [step] = failed.get_step_failure_events()
    assert "training_args.safetensors" in str(step.step_failure_data.error)
