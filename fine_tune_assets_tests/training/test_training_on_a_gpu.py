"""One GPU: bfloat16, NF4 on the card and packed rows learn what the CPU learns, and hold what was planned."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.settings import PROJECT_DIR
from fine_tune_assets_tests.training.tiny import SETTINGS, base_model, instruction_set, train_request

pytestmark = pytest.mark.gpu
# A process of its own for each: peak memory is a process's, and a broken card takes one test with it.
TRAIN = (
    "import json, sys\n"
    "from fine_tune_assets.core.progress import silent\n"
    "from fine_tune_assets.core.processes.offline import go_offline\n"
    "from fine_tune_assets.training.__main__ import train\n"
    "go_offline()\n"
    "print(json.dumps(train(json.loads(sys.argv[1]), silent)))\n"
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
    """Each way that a recipe may name; packed rows are proven to be apart before anything is learned."""
    result = _trained(data, tmp_path, method=method, packing=packing)
    assert result["device"] == "cuda"
    assert result["packing"] == packing
    assert result["best_validation_loss"] < result["first_validation_loss"] - 0.1
    assert result["base_divergence"] > 1e-3


def test_packed_rows_and_batches_begin_with_the_same_loss(data: Path, tmp_path: Path) -> None:
    """In 16 bits sums are coarser; a row that saw its neighbour would be off by far more."""
    packed, apart = (_trained(data, tmp_path / way, packing=way) for way in ("bfd", "never"))
    assert packed["first_validation_loss"] == pytest.approx(apart["first_validation_loss"], abs=5e-3)
