"""On one GPU, bfloat16, NF4 and packed rows train as on the CPU, within the planned memory."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.settings import PROJECT_DIR
from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model, instruction_set, train_request

pytestmark = pytest.mark.gpu
# Separate processes, because peak memory is measured per process and a GPU failure should affect one test.
TRAIN = (
    "import json, sys\n"
    "from fine_tune_assets.core.progress import ignore_progress\n"
    "from fine_tune_assets.core.processes.offline import go_offline\n"
    "from fine_tune_assets.training.__main__ import train\n"
    "go_offline()\n"
    "print(json.dumps(train(json.loads(sys.argv[1]), ignore_progress)))\n"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    base_model(folder / "base", 1.0)
    pq.write_table(instruction_set(train=24, validation=6), folder / "set.parquet")
    return folder


def _trained(data: Path, folder: Path, **changed: Any) -> dict[str, Any]:
    request = train_request(data, folder, replace(SETTINGS, epochs=3, learning_rate=5e-3, **changed))
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, json.dumps(request)], cwd=PROJECT_DIR, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize("method", ["lora", "qlora", "dora"])
@pytest.mark.parametrize("packing", ["never", "bfd"])
def test_a_training_on_the_card_lowers_the_loss(data: Path, tmp_path: Path, method: str, packing: str) -> None:
    """Every method of a recipe; isolation of packed rows is verified before training."""
    result = _trained(data, tmp_path, method=method, packing=packing)
    assert result["device"] == "cuda"
    assert result["packing"] == packing
    assert result["best_validation_loss"] < result["first_validation_loss"] - 0.1
    assert result["base_kl_divergence"] > 1e-3


def test_packed_rows_and_batches_begin_with_the_same_loss(data: Path, tmp_path: Path) -> None:
    """Sums in 16 bits are less exact, but rows that attend to each other would differ far more."""
    packed, apart = (_trained(data, tmp_path / way, packing=way) for way in ("bfd", "never"))
    assert packed["first_validation_loss"] == pytest.approx(apart["first_validation_loss"], abs=5e-3)
