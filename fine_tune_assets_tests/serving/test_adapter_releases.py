"""Releases that are an adapter: their base model and the vLLM process that serves them. A stand-in answers vLLM's routes."""

import sys
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.releases.release_folders import WEIGHTS, ReleaseError, ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import PROCESS_FILE, EngineError
from fine_tune_assets.recipes.export_settings import LORA_SAFETENSORS
from fine_tune_assets.serving.adapter_releases import find_base_folder, shared_root
from fine_tune_assets.serving.reconciliation import SupervisorTimings
from fine_tune_assets.serving.release_probes import probe_release
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.engines import vllm_stand_in


@pytest.fixture
def settings(short_path: Path) -> Settings:
    python = short_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {vllm_stand_in.__file__} "$@"\n')
    python.chmod(0o700)
    found = changed(Settings(data_dir=short_path), vllm={"python": str(python), "kv_cache_gb": 1})
    base = found.layout.base_models / "base"
    base.mkdir(parents=True)
    (base / "model.safetensors").write_text("weights")
    return found


def _release(settings: Settings) -> ReleaseFolder:
    folder = settings.layout.releases / "abc"
    (folder / WEIGHTS).mkdir(parents=True)
    for name, text in {"adapter_config.json": '{"r": 8}', "adapter_model.safetensors": "", "config.json": "{}"}.items():
        (folder / WEIGHTS / name).write_text(text)
    manifest: dict[str, Any] = {
        "engine": "vllm",
        "format": LORA_SAFETENSORS,
        "base_model": "base",
        "base_fingerprint": fingerprint_folder(settings.layout.base_models / "base"),
        "files": {},
    }
    return ReleaseFolder(folder, "abc", manifest)


def test_the_base_model_is_found_by_its_content(settings: Settings) -> None:
    """Whatever its folder is called. An unfinished import is not looked at: it changes meanwhile."""
    release, stored = _release(settings), settings.layout.base_models
    (stored / "base").rename(stored / "renamed")
    assert find_base_folder(release, settings) == stored / "renamed"
    (stored / "renamed").rename(stored / ".staging")
    with pytest.raises(EngineError):
        find_base_folder(release, settings)


def test_a_probe_leaves_no_process(settings: Settings) -> None:
    """Also if the adapter's server is killed before it could stop vLLM."""
    with pytest.raises(ReleaseError, match=r"prompt\.json"):
        probe_release(_release(settings), settings, SupervisorTimings(stop_grace_seconds=0))
    (shared,) = (path for path in shared_root(settings).iterdir() if path.is_dir())
    assert (shared / "attached").is_dir()
    assert not (shared / PROCESS_FILE).exists()
