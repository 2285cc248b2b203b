"""The metadata on the tracking of a training, and what of a recipe is logged."""

import socket
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s06_adapters.mlflow_logging import NOT_TRACKED, log_to_mlflow
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets_tests.record_factory import made

TRAINED: dict[str, Any] = {
    "adapter_id": "a" * 64, "curve": [{"step": 0.0, "eval_loss": 3.0}, {"step": 1.0, "loss": 2.0}], "first_train_loss": 2.0,
    "last_train_loss": 2.0, "first_validation_loss": 3.0, "best_validation_loss": 1.5, "base_kl_divergence": 0.1,
    "trained_row_count": 4,
    "supervised_tokens": 40, "steps": 1, "tokens_per_second": 10.0, "duration_seconds": 1.0, "peak_memory_bytes": 1000,
    "rows_too_long": ["example-too-long"],
}  # fmt: skip
ADAPTER = made(
    Adapter, base_fingerprint="b" * 64, instruction_set_fingerprint="c" * 64, prompt_fingerprint="d" * 64,
    recipe_fingerprint="e" * 64, method="lora",
)  # fmt: skip


def _log() -> str:
    with dg.build_asset_context() as context:
        return log_to_mlflow(context, Installation(), TRAINED, ADAPTER, asdict(Installation().recipe.training))


def test_the_metadata_names_the_run(installation_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow receives neither the system prompt nor example ids, since an erasure does not reach it."""
    runs = installation_dir / "runs.db"
    monkeypatch.setenv("FINE_TUNE_MLFLOW_URI", f"sqlite:///{runs}")
    assert _log().endswith(f" at sqlite:///{runs}")
    logged = b"".join(path.read_bytes() for path in installation_dir.glob("runs.db*"))
    assert ADAPTER.prompt_fingerprint.encode() in logged
    assert Installation().recipe.system_prompt.encode() not in logged
    assert b"example-too-long" not in logged


def test_the_metadata_names_a_server_that_does_not_respond(
    installation_dir: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The failure is visible, and the adapter is stored anyway."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("FINE_TUNE_MLFLOW_URI", f"http://me:secret@127.0.0.1:{port}")
    shown = _log()
    assert shown.startswith(NOT_TRACKED)
    assert f"http://127.0.0.1:{port}" in shown
    log = capfd.readouterr().err
    assert f"http://127.0.0.1:{port}" in log
    assert "secret" not in log + shown


def test_without_an_address_the_metadata_names_the_setting(installation_dir: Path) -> None:  # noqa: ARG001
    """The user learns how to turn tracking on."""
    shown = _log()
    assert shown.startswith(NOT_TRACKED)
    assert "FINE_TUNE_MLFLOW_URI" in shown
