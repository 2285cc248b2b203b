"""An installation on the sample reports in a temporary folder, for benchmarks that run the graph."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.settings import Settings, load_settings

INPUTS = ("raw_reports", "general", "evaluation", "knowledge")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def sample_installation(prefix: str) -> Iterator[Settings]:
    """Named by the environment, so that every process that is started works on it."""
    go_offline()
    with tempfile.TemporaryDirectory(prefix=prefix) as scratch:
        data = Path(scratch) / "data"
        for name in INPUTS:
            shutil.copytree(PROJECT_DIR / "data" / name, data / name)
        yield use(data)


def use(data: Path, recipe: str | None = None) -> Settings:
    """Make `data` the data folder of this process and its child processes; Dagster's home is a sibling of it."""
    home = data.parent / f"{data.name}-dagster"
    home.mkdir(exist_ok=True)
    shutil.copy(PROJECT_DIR / "dagster.yaml", home)
    os.environ |= {
        "FINE_TUNE_DATA_DIR": str(data),
        "FINE_TUNE_DAGSTER_HOME": str(home),
        "DAGSTER_HOME": str(home),
        "FINE_TUNE_GATEWAY_PORT": str(free_port()),
        "FINE_TUNE_DESK_PORT": str(free_port()),
    }
    if recipe is not None:
        os.environ["FINE_TUNE_RECIPE"] = recipe
    return load_settings()
