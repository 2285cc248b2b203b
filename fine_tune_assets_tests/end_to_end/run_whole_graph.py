"""A program: the whole graph on a small installation, served, asked, and its fingerprints printed as one JSON line last.

The tests run it as it is, and again where only loopback exists: both must print the same fingerprints.
"""

import json
import socket
import sys

from fine_tune_assets.cli.graph import run_graph
from fine_tune_assets.cli.services import prepare
from fine_tune_assets.cli.summary import ask_the_model, demo_figures
from fine_tune_assets.core.settings import go_offline, load_settings
from fine_tune_assets.serving.services import start_services, stop_services

SERVICES = ("supervisor", "gateway")


def reaches_outside() -> bool:
    """Whether a packet could leave this machine: an address for documentation, so that nobody is bothered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return False
    return True


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
    print(json.dumps({**told, "reaches_outside": reaches_outside(), "figures": figures}))


if __name__ == "__main__":
    main()
