"""Time and peak memory of the whole asset graph on the sample reports, from an empty data folder."""

import json
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

from memory import PeakMemory
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import go_offline

INPUTS = ("raw_reports", "general", "evaluation")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    go_offline()
    with tempfile.TemporaryDirectory(prefix="bench-graph-") as scratch:
        data, home = Path(scratch) / "data", Path(scratch) / "dagster"
        for name in INPUTS:
            shutil.copytree(PROJECT_DIR / "data" / name, data / name)
        home.mkdir()
        shutil.copy(PROJECT_DIR / "dagster.yaml", home)
        os.environ |= {
            "FINE_TUNE_DATA_DIR": str(data),
            "FINE_TUNE_DAGSTER_HOME": str(home),
            "FINE_TUNE_GATEWAY_PORT": str(_free_port()),
        }
        _measure()


def _measure() -> None:
    from fine_tune_assets.cli.graph import run_graph
    from fine_tune_assets.cli.services import prepare
    from fine_tune_assets.cli.summary import ask_the_model, demo_figures
    from fine_tune_assets.core.settings import load_settings
    from fine_tune_assets.serving.services import start_services, stop_services

    settings, console = load_settings(), Console(stderr=True)
    prepare(settings)
    start_services(settings, ("supervisor", "gateway"))
    peak, started = PeakMemory(), time.monotonic()
    peak.start()
    try:
        first = run_graph(settings, console)
        seconds = time.monotonic() - started
        again_started = time.monotonic()
        again = run_graph(settings, console)
        again_seconds = time.monotonic() - again_started
        asked = time.monotonic()
        ask_the_model(settings)
        answer_seconds = time.monotonic() - asked
    finally:
        stop_services(settings, ("supervisor", "gateway"))
    figures = {
        "seconds": round(seconds, 1),
        "peak_gb": round(peak.end() / 1e9, 2),
        "runs": len(first.runs),
        "failed": len(first.failed),
        "second_run_seconds": round(again_seconds, 1),
        "second_run_runs": len(again.runs),
        "answer_seconds": round(answer_seconds, 1),
    }
    table = Table("figure", "value", title="The whole graph on the sample reports")
    for name, value in {**figures, **demo_figures(settings.layout.tables)}.items():
        table.add_row(name, str(value))
    Console().print(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
