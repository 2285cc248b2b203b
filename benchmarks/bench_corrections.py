"""Corrections through a real gateway that is killed at random moments: what is lost, what is kept twice, and how fast it is.

Starts the gateway as a separate process on a SQLite ledger in a temporary folder; for smaller runs see `--help`. Prints a
table, then one JSON line with the load average: timings on a busy machine mean little. Exit status 1
if anything was lost or kept twice.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets_tests.gateway.durability import Outcome, post_under_kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=20260101)
    asked = parser.parse_args()
    go_offline()
    with tempfile.TemporaryDirectory(prefix="bench-corrections-") as folder:
        settings = Settings(data_dir=Path(folder), gateway={"port": free_port()})
        outcome = post_under_kills(settings, asked.posts, asked.kills, asked.clients, asked.seed)
    _show(_figures(outcome, asked.posts, asked.clients))
    if outcome.lost or outcome.twice:
        raise SystemExit(1)


def _figures(outcome: Outcome, posts: int, clients: int) -> dict[str, float | int]:
    hundredths = statistics.quantiles(outcome.seconds, n=100)
    return {
        "posts": posts,
        "clients": clients,
        "kills": outcome.kills,
        "acknowledged": len(outcome.acknowledged),
        "lost": outcome.lost,
        "kept_twice": outcome.twice,
        "sent_again": outcome.sent_again,
        "seconds": round(outcome.total_seconds, 1),
        "posts_per_second": round(posts / outcome.total_seconds, 1),
        "acknowledge_p50_ms": round(1000 * hundredths[49], 1),
        "acknowledge_p99_ms": round(1000 * hundredths[98], 1),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _show(figures: dict[str, float | int]) -> None:
    table = Table("figure", "value", title="Corrections under kills")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    Console().print(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
