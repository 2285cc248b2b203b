"""A command that a script starts in the background can be ended."""

import signal
import subprocess
import sys

CODE = """
import signal
from click.testing import CliRunner
from fine_tune_assets.cli.main import main
CliRunner().invoke(main, ["duplicates", "--help"])
from dagster._utils.interrupts import capture_interrupts
with capture_interrupts():
    pass
print(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)
"""


def test_a_command_that_ignores_interrupts_hears_them_again() -> None:
    """Else Dagster ignores SIGTERM after the first step, and whatever it starts does so too."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert found.stdout.strip() == "False"
