"""Time and peak memory of the whole asset graph on the sample reports, from an empty data folder."""

import json
import time

from memory import PeakMemory
from rich.console import Console
from rich.table import Table
from sample_installation import sample_installation


def main() -> None:
    with sample_installation("bench-graph-"):
        _measure()


def _measure() -> None:
    from fine_tune_assets.cli.asset_commands import run_graph
    from fine_tune_assets.cli.demo.summary import ask_the_model, read_summary
    from fine_tune_assets.cli.service_commands import prepare
    from fine_tune_assets.core.settings import load_settings
    from fine_tune_assets.serving.services import start_services, stop_services

    settings, console = load_settings(), Console(stderr=True)
    prepare(settings)
    start_services(settings, ("supervisor", "gateway"))
    peak, started = PeakMemory(sample_seconds=10), time.monotonic()
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
    for name, value in {**figures, **read_summary(settings.layout.tables)}.items():
        table.add_row(name, str(value))
    Console().print(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
