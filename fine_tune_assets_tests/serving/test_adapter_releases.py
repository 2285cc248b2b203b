"""Releases that are an adapter: their base model and the vLLM process that serves them. A stand-in answers vLLM's routes."""

import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder
from fine_tune_assets.core.prompts.prompt_contract import PromptContract
from fine_tune_assets.core.releases.release_folders import ADAPTER, WEIGHTS, ReleaseError, ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.bundled_model import PACKAGE, bundled_gguf
from fine_tune_assets.engines.running_server import PROCESS_FILE, EngineError
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import request_deployment
from fine_tune_assets.recipes.export_settings import LORA_SAFETENSORS
from fine_tune_assets.serving.adapter_releases import find_base_folder, shared_root
from fine_tune_assets.serving.reconciliation import SupervisorTimings
from fine_tune_assets.serving.release_probes import probe_release
from fine_tune_assets.serving.release_watch import VERIFY_AGAIN, ReleaseWatch
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.engines import vllm_stand_in
from fine_tune_assets_tests.ledger.ledger_rows import deployment_of
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.serving.supervisor_ticks import tick_until
from fine_tune_assets_tests.serving.tiny_releases import engine_of, put_release, switched


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


ADAPTER_FILES = {"adapter_config.json": '{"r": 8}', "adapter_model.safetensors": "", "config.json": "{}"}
NOW = datetime.now(UTC)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    found = fresh_ledger(settings)
    yield found
    found.close()


def _signed_release(settings: Settings, ledger: Ledger, **facts: Any) -> str:
    def fill(folder: Path) -> None:
        (folder / WEIGHTS).mkdir()
        for name, text in ADAPTER_FILES.items():
            (folder / WEIGHTS / name).write_text(text)

    base = fingerprint_folder(settings.layout.base_models / "base")
    facts = {"engine": "vllm", "format": LORA_SAFETENSORS, "base_model": "base", "base_fingerprint": base, **facts}
    return put_release(settings, ledger, PromptContract("You are brief.", "", (), (2,), 2), fill, **facts)


def _write_adapter(folder: Path) -> None:
    (folder / ADAPTER).write_bytes(b"adapter")


def _change_in_place(file: Path, text: bytes) -> None:
    """With the times as they were."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.write(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_base_model_that_changed_under_an_adapter_takes_the_release_out(settings: Settings, ledger: Ledger) -> None:
    """It lies outside of the release's folder, and decides the answers as much as the adapter."""
    switched(ledger, _signed_release(settings, ledger))
    watch = ReleaseWatch(settings, ledger)
    assert watch.find_changed(NOW) == []
    assert watch.find_changed(NOW + VERIFY_AGAIN) == []
    _change_in_place(settings.layout.base_models / "base" / "model.safetensors", b"WEIGHTS")
    (found,) = watch.find_changed(NOW + VERIFY_AGAIN)
    assert "base model" in found.reason


def test_a_bundled_base_that_changed_takes_the_release_out(
    settings: Settings, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine maps the file, and would answer with other weights at once."""
    bundled = bundled_gguf()
    assert bundled is not None
    shutil.copytree(bundled.parent, tmp_path / "site" / PACKAGE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    copied = bundled_gguf()
    assert copied == tmp_path / "site" / PACKAGE / bundled.name
    base = {"name": "bundled", "sha256": fingerprint_file(copied)}

    switched(ledger, put_release(
        settings, ledger, PromptContract("You are brief.", "", (), (2,), 2),
        _write_adapter, base_gguf=base,
    ))  # fmt: skip
    watch = ReleaseWatch(settings, ledger)
    assert watch.find_changed(NOW) == []
    _change_in_place(copied, b"gguf")
    assert len(watch.find_changed(NOW)) == 1


def test_an_engine_whose_base_model_was_swapped_while_it_loaded_is_not_used(settings: Settings, ledger: Ledger) -> None:
    """Somebody may move other weights in after the verification, and the right ones back when the engine has opened those."""
    name = request_deployment(ledger, _signed_release(settings, ledger)).deployment_id
    supervisor = Supervisor(settings, ledger, SupervisorTimings(stop_grace_seconds=5, startup_timeout_seconds=60))
    try:
        supervisor.tick(datetime.now(UTC))
        suspect = engine_of(settings, name).identity
        moved = settings.layout.base_models / "base" / "model.safetensors"
        moved.rename(moved.with_name("aside"))
        moved.with_name("aside").rename(moved)
        tick_until(supervisor, lambda: deployment_of(ledger, name).state == "ready")
        assert engine_of(settings, name).identity != suspect
    finally:
        supervisor.close()
