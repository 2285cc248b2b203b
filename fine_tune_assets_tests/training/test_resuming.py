"""A training that is killed goes on by itself and ends with the same weights, bit by bit."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import OFFLINE_ENVIRONMENT
from fine_tune_assets_tests.training.tiny import SETTINGS, base_model, instruction_set

pytestmark = pytest.mark.slow  # TRL takes 13 s to import, in every process

# Writes a checkpoint after each step, and says every step before the next one begins.
TRAINS = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.trainer import train_adapter
folder, settings = Path(sys.argv[1]), TrainingSettings(**json.loads(sys.argv[2]))
result = train_adapter(
    pq.read_table(folder / "set.parquet"), folder.parent / "base", "base-1", folder / "adapters", folder / "checkpoints",
    settings, 1, lambda done, total, what: print(done, flush=True),
)
print(json.dumps({"adapter_id": result.adapter_id, "resumed": result.resumed_from_step, "steps": result.steps,
                  "best": result.best_validation_loss, "first": result.first_validation_loss,
                  "curve": [p for p in result.curve]}))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resuming")
    base_model(folder / "base", 1.0)
    return folder


def _start(folder: Path, settings: Any) -> "subprocess.Popen[str]":
    folder.mkdir(exist_ok=True)
    write_table(folder / "set.parquet", instruction_set(train=18, validation=4))
    return subprocess.Popen(
        [sys.executable, "-c", TRAINS, str(folder), json.dumps(asdict(settings))],
        env={**os.environ, **OFFLINE_ENVIRONMENT},
        cwd=PROJECT_DIR,
        stdout=subprocess.PIPE,
        text=True,
    )


def _killed_at(folder: Path, settings: Any, step: int) -> None:
    process = _start(folder, settings)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == str(step):
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list((folder / "adapters").glob("*")) if (folder / "adapters").exists() else True


def _finished(folder: Path, settings: Any) -> dict[str, Any]:
    said, _ = _start(folder, settings).communicate(timeout=300)
    return dict(json.loads(said.strip().splitlines()[-1]))


@pytest.mark.parametrize(
    "changed",
    [
        {"packing": "never", "evaluations_per_epoch": 2, "early_stopping_patience": 4},
        {"packing": "bfd", "gradient_accumulation": 2, "method": "dora"},
    ],
)
def test_a_killed_training_ends_with_the_same_weights(root: Path, changed: dict[str, Any]) -> None:
    """Else a power cut would decide what is served. Dropout and the order of examples are by chance, and must be the same."""
    settings = replace(SETTINGS, epochs=3, dropout=0.1, checkpoint_minutes=0.0, **changed)
    name = changed["packing"]
    whole = _finished(root / f"{name}-whole", settings)
    assert whole["resumed"] is None
    killed = root / f"{name}-killed"
    middle, later = whole["steps"] // 3, 2 * whole["steps"] // 3 + 1
    _killed_at(killed, settings, middle)
    _killed_at(killed, settings, later)
    resumed = _finished(killed, settings)
    assert resumed["resumed"] >= later - 1
    assert {**resumed, "resumed": None} == whole
