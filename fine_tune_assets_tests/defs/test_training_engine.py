"""The library that a recipe trains with is there before anything is spent, or the gate closes."""

import sys
from pathlib import Path

import dagster as dg
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s06_adapters.preflight import training_engine_is_installed
from fine_tune_assets_tests.changed_settings import settings_in
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.training.unsloth_python import UNSLOTH, needs_unsloth


def _checked(data: Path, engine: str) -> dg.AssetCheckResult:
    write_recipe(data, training={"engine": engine})
    found = training_engine_is_installed(Installation())
    assert isinstance(found, dg.AssetCheckResult)
    return found


def test_the_engine_that_comes_with_the_project_passes_with_its_versions(installation_dir: Path) -> None:
    """An environment that the recipe does not use is not inspected."""
    found = _checked(installation_dir, "trl")
    assert found.passed
    assert "trl" in str(found.metadata["libraries"].value)


@pytest.mark.parametrize("python", ["/nowhere/bin/python", "/bin/false", sys.executable])
def test_an_environment_without_unsloth_closes_the_gate(
    installation_dir: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    """The path does not exist, is not a Python, or has no Unsloth. Each message includes the fix."""
    monkeypatch.setenv("FINE_TUNE_UNSLOTH_PYTHON", python)
    found = _checked(installation_dir, "unsloth")
    assert not found.passed
    assert "make setup-unsloth" in str(found.metadata[REASON].value)
    assert python in str(found.metadata[REASON].value)


@needs_unsloth
def test_its_environment_opens_the_gate_with_its_own_versions(
    installation_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other versions than this process has."""
    monkeypatch.setenv("FINE_TUNE_UNSLOTH_PYTHON", str(UNSLOTH))
    found = _checked(installation_dir, "unsloth")
    assert found.passed
    assert "unsloth_zoo" in str(found.metadata["libraries"].value)


def test_the_python_of_an_environment_is_not_followed_to_the_one_it_links_to(tmp_path: Path) -> None:
    """The link is what tells Python its environment: followed, it would be one without Unsloth."""
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert settings_in({"FINE_TUNE_UNSLOTH_PYTHON": str(link)}).unsloth_interpreter == link
    assert Settings().unsloth_interpreter == PROJECT_DIR / ".venv-unsloth" / "bin" / "python"


def test_unsloth_is_refused_on_a_cluster(installation_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes don't have its environment, so the job would fail after waiting for the nodes."""
    monkeypatch.setenv("FINE_TUNE_RAY_ADDRESS", "http://10.0.0.5:8265")
    checked = _checked(installation_dir, "unsloth")
    assert not checked.passed
    assert "training.engine: trl" in str(checked.metadata[REASON].value)
