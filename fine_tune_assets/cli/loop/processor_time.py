"""Processor time of an installation's processes: what a step costs, also on a machine that does other things beside it.

Owns reading `/proc`. A process belongs to the installation if its environment names the data folder.
"""

import os
from contextlib import suppress
from pathlib import Path

from fine_tune_assets.core.settings import PREFIX, Settings

_OWN_AND_OF_CHILDREN = slice(11, 15)
"""After the command's name in `/proc/PID/stat`: user and system time, of itself and of children that it has waited for."""


def processor_seconds(settings: Settings) -> float:
    """Of all that run now, and of their children that have ended. Take it before the services are stopped."""
    own = f"{PREFIX}DATA_DIR={settings.data_dir}".encode()
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is another user's
            if own in (folder / "environ").read_bytes().split(b"\0"):
                ticks += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[_OWN_AND_OF_CHILDREN]))
    return ticks / os.sysconf("SC_CLK_TCK")
