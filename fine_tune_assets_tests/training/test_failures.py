"""Out of memory, a full disk and a loss that is not finite: each error names the setting to change, and no adapter is stored."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.training.failures import TrainingError, explain_errors, require_disk_space, require_finite

PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from fine_tune_assets.training.lora import trainer
from fine_tune_assets.training.failures import TrainingError
from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model, instruction_set
folder = Path(sys.argv[1])
base = base_model(folder / "base", 1.0)
{before}
try:
    trainer.train_adapter(instruction_set(12), base, "b", folder / "adapters", Path(sys.argv[2]), {settings}, 1, lambda *w: None)
except TrainingError as error:
    print("ERROR", error)
"""


def _train(folder: Path, checkpoints: Path, wrap: list[str], before: str = "", settings: str = "SETTINGS") -> str:
    code = PROGRAM.format(before=before, settings=settings)
    done = subprocess.run(
        [*wrap, sys.executable, "-c", code, str(folder), str(checkpoints)],
        env={**os.environ, **OFFLINE_ENVIRONMENT},
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
    assert errors, done.stderr[-2000:]
    assert not list((folder / "adapters").rglob("*"))
    return errors[0]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "words"), [("1k", r"need \d+ MB.* 0 MB"), ("70k", "full: 0 MB")])
def test_a_full_disk_is_reported_and_stores_no_adapter(tmp_path: Path, size: str, words: str) -> None:
    """Before the first step if predictable, else when a checkpoint cannot be written. Uses a real file system that is full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size={size} none {disk} && exec "$@"', "sh"]
    assert re.search(words, _train(tmp_path, disk / "checkpoints", mounted))


@pytest.mark.slow
def test_out_of_memory_is_reported_with_the_settings_to_change(tmp_path: Path) -> None:
    """On a CPU, torch's allocator reports it only in the text of an error."""
    before = (
        "import resource\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)"
    )
    error = _train(tmp_path, tmp_path / "checkpoints", [], before, "replace(SETTINGS, batch_size=9, rank=60_000)")
    assert "training.batch_size" in error


def test_failures_that_users_can_fix_are_distinguished_from_others(tmp_path: Path) -> None:
    """A bug must not be reported as a full disk."""
    with pytest.raises(TrainingError, match=str(tmp_path)), explain_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(TrainingError, match=r"training\.batch_size"), explain_errors(tmp_path):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    for fault in (RuntimeError("shape mismatch"), OSError(errno.EACCES, "denied"), KeyError("inline_container")):
        with pytest.raises(type(fault)), explain_errors(tmp_path):
            raise fault


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_refused_with_its_step(value: float) -> None:
    """Any other number passes."""
    require_finite(2.5, 3)
    with pytest.raises(TrainingError, match="step 3"):
        require_finite(value, 3)


def test_free_disk_space_is_checked_before_training(tmp_path: Path) -> None:
    """With more than any disk has, and with next to nothing."""
    require_disk_space(tmp_path, 1)
    with pytest.raises(TrainingError, match=str(tmp_path)):
        require_disk_space(tmp_path, 10**18)
