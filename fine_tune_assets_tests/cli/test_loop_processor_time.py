"""What an installation's processes take: those that name its data folder, with children that have ended, and no others."""

import os
import subprocess
import sys
from pathlib import Path

from fine_tune_assets.cli.loop.processor_time import processor_seconds
from fine_tune_assets.core.settings import Settings

_BURN = "import time\nwhile time.process_time() < 0.4: pass\n"
_PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {_BURN!r}], check=True)
print("ready", flush=True)
sys.stdin.read()
"""


def test_it_counts_a_process_and_its_ended_child_and_not_another_installation(tmp_path: Path) -> None:
    """A step's cost is that of its programs, which have ended when it is asked for."""
    settings = Settings(data_dir=tmp_path / "ours")
    environment = {**os.environ, "FINE_TUNE_DATA_DIR": str(settings.data_dir)}
    command = [sys.executable, "-c", _PARENT]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert processor_seconds(settings) >= 0.4
        assert processor_seconds(Settings(data_dir=tmp_path / "other")) == 0
        process.communicate(b"")
    assert processor_seconds(settings) == 0
