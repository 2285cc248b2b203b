"""A program: the whole graph on a small installation, served, asked, and its fingerprints printed as one JSON line last."""

import json
import sys

from fine_tune_assets.cli.graph import run_graph
from fine_tune_assets.cli.services import prepare
from fine_tune_assets.cli.summary import ask_the_model, demo_figures
from fine_tune_assets.core.settings import go_offline, load_settings
from fine_tune_assets.serving.services import start_services, stop_services

SERVICES = ("supervisor", "gateway")


def main() -> None:
    go_offline()
    from rich.console import Console

    settings = load_settings()
    prepare(settings)
    start_services(settings, SERVICES)
    try:
        summary = run_graph(settings, Console(stderr=True))
        if summary.failed:
            sys.exit(f"failed: {[(run.assets, run.errors) for run in summary.failed]}")
        again = run_graph(settings, Console(stderr=True))
        answer = ask_the_model(settings)
    finally:
        stop_services(settings, SERVICES)
    figures = demo_figures(settings.layout.tables)
    told = {
        "release": figures["release"],
        "verdict": figures["verdict"],
        "answer": answer,
        "runs_again": len(again.runs),
    }
    print(json.dumps({**told, "figures": figures}))


if __name__ == "__main__":
    main()
