"""What people see of where a training was told, and what of a recipe is told at all."""

import socket
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s06_adapters.sweeps import tell_tracking
from fine_tune_assets.tables.training import Adapter
from fine_tune_assets_tests.made_records import made

TRAINED: dict[str, Any] = {
    "adapter_id": "a" * 64, "curve": [{"step": 0.0, "eval_loss": 3.0}, {"step": 1.0, "loss": 2.0}], "first_train_loss": 2.0,
    "last_train_loss": 2.0, "first_validation_loss": 3.0, "best_validation_loss": 1.5, "base_divergence": 0.1, "rows_trained": 4,
    "supervised_tokens": 40, "steps": 1, "tokens_per_second": 10.0, "seconds": 1.0, "peak_memory_bytes": 1000,
    "rows_too_long": ["example-too-long"],
}  # fmt: skip
ADAPTER = made(
    Adapter, base_fingerprint="b" * 64, instruction_set_fingerprint="c" * 64, prompt_fingerprint="d" * 64,
    recipe_fingerprint="e" * 64, method="lora",
)  # fmt: skip


def _tell() -> dict[str, Any]:
    with dg.build_asset_context() as context:
        return tell_tracking(context, Installation(), TRAINED, ADAPTER, asdict(Installation().recipe.training))


def test_where_a_training_was_told_is_metadata(installation_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was told holds neither the system prompt nor ids of examples: no erasure looks there."""
    runs = installation_dir / "runs.db"
    monkeypatch.setenv("FINE_TUNE_MLFLOW_URI", f"sqlite:///{runs}")
    shown = _tell()
    assert shown["mlflow"].endswith(f" at sqlite:///{runs}")
    assert shown["tensorboard"].value == str(installation_dir / "tensorboard" / ("a" * 16))
    told = b"".join(path.read_bytes() for path in installation_dir.glob("runs.db*"))
    assert ADAPTER.prompt_fingerprint.encode() in told
    assert Installation().recipe.system_prompt.encode() not in told
    assert b"example-too-long" not in told


def test_a_server_that_does_not_answer_is_metadata_too(
    installation_dir: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Nothing is silently missing, and the adapter is stored all the same."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("FINE_TUNE_MLFLOW_URI", f"http://me:secret@127.0.0.1:{port}")
    shown = _tell()
    assert shown["mlflow"].startswith(f"not told: http://127.0.0.1:{port} did not take it")
    log = capfd.readouterr().err
    assert "The training is stored, and MLflow was not told of it" in log
    assert "secret" not in log + shown["mlflow"]


def test_without_the_setting_it_is_said_that_nobody_was_told(installation_dir: Path) -> None:  # noqa: ARG001
    """By one setting it would be."""
    assert _tell()["mlflow"] == "not told: FINE_TUNE_MLFLOW_URI is empty."
