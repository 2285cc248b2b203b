"""A command ends at a signal, also if it arrives while Python runs a finalizer."""

import subprocess
import sys

import pytest

CODE = """
import signal, time
from contextlib import nullcontext
from fine_tune_assets.core.processes.interrupts import reliable_interrupts

class Closing:
    def __del__(self):
        signal.raise_signal(signal.{number})

with {context}:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    one = Closing()
    del one
    time.sleep(3)
"""


def _run(number: str, context: str) -> int:
    code = CODE.format(number=number, context=context)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_an_interrupt_in_a_finalizer_ends_the_command(number: str) -> None:
    assert _run(number, "reliable_interrupts()") != 0


def test_python_alone_loses_it() -> None:
    """If this fails, Python no longer needs our help."""
    assert _run("SIGINT", "nullcontext()") == 0
