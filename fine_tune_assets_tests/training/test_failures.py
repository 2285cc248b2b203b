"""Memory, disk and numbers that are none: each is said in words that tell what to change, and nothing is half written."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.training.failures import TrainingError, explained, require_number, require_room

TRAINS = """
import sys
from dataclasses import replace
from pathlib import Path
from fine_tune_assets.training.lora import trainer
from fine_tune_assets.training.failures import TrainingError
from fine_tune_assets_tests.training.tiny import SETTINGS, base_model, instruction_set
folder = Path(sys.argv[1])
base = base_model(folder / "base", 1.0)
{before}
try:
    trainer.train_adapter(instruction_set(12), base, "b", folder / "adapters", Path(sys.argv[2]), {settings}, 1, lambda *w: None)
except TrainingError as error:
    print("SAID", error)
"""


def _train(folder: Path, checkpoints: Path, wrap: list[str], before: str = "", settings: str = "SETTINGS") -> str:
    code = TRAINS.format(before=before, settings=settings)
    done = subprocess.run(
        [*wrap, sys.executable, "-c", code, str(folder), str(checkpoints)],
        env={**os.environ, **OFFLINE_ENVIRONMENT},
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("SAID")]
    assert said, done.stderr[-2000:]
    assert not list((folder / "adapters").rglob("*"))
    return said[0]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "words"), [("1k", "need .* MB, and 0 MB are free"), ("70k", "disk is full")])
def test_a_full_disk_is_said_and_leaves_no_adapter(tmp_path: Path, size: str, words: str) -> None:
    """Before the first step if it can be known, else when a checkpoint can't be written. A real file system that is full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size={size} none {disk} && exec "$@"', "sh"]
    assert re.search(words, _train(tmp_path, disk / "checkpoints", mounted))


@pytest.mark.slow
def test_too_little_memory_is_said_with_what_to_change(tmp_path: Path) -> None:
    """The allocator of torch says so in words of its own."""
    before = (
        "import resource\n"
        "held = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (held + 300_000_000,) * 2)"
    )
    said = _train(tmp_path, tmp_path / "checkpoints", [], before, "replace(SETTINGS, batch_size=9, rank=60_000)")
    assert "Out of memory" in said
    assert "training.batch_size" in said


def test_what_can_be_mended_is_told_apart_from_what_can_not(tmp_path: Path) -> None:
    """A fault in the code must not be taken for a full disk."""
    with pytest.raises(TrainingError, match="disk is full"), explained(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(TrainingError, match="Out of memory"), explained(tmp_path):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    for fault in (RuntimeError("shape mismatch"), OSError(errno.EACCES, "denied"), KeyError("inline_container")):
        with pytest.raises(type(fault)), explained(tmp_path):
            raise fault


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_refused_with_its_step(value: float) -> None:
    """And any other number goes through."""
    require_number(2.5, 3)
    with pytest.raises(TrainingError, match="at step 3"):
        require_number(value, 3)


def test_room_is_asked_for_before_a_gpu_hour_is_spent(tmp_path: Path) -> None:
    """More than any disk has, and next to nothing."""
    require_room(tmp_path, 1)
    with pytest.raises(TrainingError, match="Make room"):
        require_room(tmp_path, 10**18)
