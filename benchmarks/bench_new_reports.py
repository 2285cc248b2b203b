"""Seconds from three new reports in a folder to the instruction set, with the real daemon, also among 10 times the sample."""

import csv
import json
import random
import re
import shutil
import statistics
import sys
import time
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table
from sample_installation import sample_installation, use

from fine_tune_assets.core.settings import Settings

SIZES = (1, 10)
BATCHES, NEW_REPORTS, WAIT_SECONDS = 5, 3, 300.0
SAMPLE_REPORTS = 343
ASSETS = ("approved_examples", "instruction_sets")
"""The fifth asset of a report's path, and the end of stage 5."""
SERVICES = ("code-server", "dagster-daemon")


def main() -> None:
    sizes = tuple(map(int, sys.argv[1:])) or SIZES
    measured = [figures for size in sizes for figures in measure(size)]
    table = Table(*measured[0], title=f"{NEW_REPORTS} new reports, {BATCHES} times")
    for row in measured:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    print(json.dumps(measured))


def measure(size: int) -> list[dict[str, object]]:
    from fine_tune_assets.cli.asset_commands import run_graph
    from fine_tune_assets.cli.service_commands import prepare, prepare_dagster
    from fine_tune_assets.serving.services import start_services, stop_services

    with sample_installation("bench-new-reports-") as sample:
        # No training: its base model does not exist.
        recipe = yaml.safe_load(Path("fine_tune_assets/recipes/demo_smollm2.yaml").read_text(encoding="utf-8"))
        recipe["base_model"] = {**recipe.get("base_model", {}), "folder": str(sample.data_dir / "no-such-model")}
        (sample.data_dir / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        settings = use(sample.data_dir, str(sample.data_dir / "recipe.yaml"))
        dialogues = _read(settings.layout.raw_reports / "2026-02-dialogues" / "visits.csv")
        for copy in range(round((size - 1) * SAMPLE_REPORTS / len(dialogues))):
            _write_batch(settings, f"2026-08-{copy:03}", dialogues, copy)
        prepare(settings)
        prepare_dagster(settings, before_daemon=True)
        started = time.monotonic()
        run_graph(settings, Console(stderr=True))
        whole = time.monotonic() - started
        start_services(settings, SERVICES)
        try:
            wait_until_idle(settings)
            timed = [_time_batch(settings, dialogues, number) for number in range(BATCHES)]
        finally:
            stop_services(settings, SERVICES)
    return [
        {
            "times the sample": size,
            "until": asset,
            "median_seconds": round(statistics.median(row[asset] for row in timed), 1),
            "maximum_seconds": round(max(row[asset] for row in timed), 1),
            "from_nothing_seconds": round(whole, 1),
        }
        for asset in ASSETS
    ]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write_batch(settings: Settings, name: str, rows: list[dict[str, str]], seed: int) -> None:
    """A batch of the same dialogues in other words, so that none is a duplicate."""
    order = random.Random(seed)
    words: dict[str, str] = {}

    def other(found: re.Match[str]) -> str:
        word = found[0]
        return words.setdefault(word, "".join(order.sample(word, len(word))))

    folder = settings.layout.raw_reports / f"{name}.partial"
    folder.mkdir()
    shutil.copy(settings.layout.raw_reports / "2026-02-dialogues" / "batch.yaml", folder)
    with (folder / "visits.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            # Names, headings and labels start with a capital letter, and stay.
            changed = {
                key: re.sub(r"\b[a-z]{5,}\b", other, row[key]) for key in ("dialogue", "section_text") if key in row
            }
            ids = {key: f"{row[key]}-{name}" for key in ("report_id", "subject_id")}
            writer.writerow({**row, **changed, **ids})
    folder.rename(settings.layout.raw_reports / name)


def wait_until_idle(settings: Settings) -> None:
    from fine_tune_assets.cli.service_commands import open_instance

    quiet = time.monotonic()
    with open_instance(settings) as instance:
        runs = -1
        while time.monotonic() - quiet < 30:
            found = instance.get_runs()
            if len(found) != runs or not all(run.is_finished for run in found):
                runs, quiet = len(found), time.monotonic()
            time.sleep(1)


def _time_batch(settings: Settings, dialogues: list[dict[str, str]], number: int) -> dict[str, float]:
    """Seconds from the folder's appearance to each asset's materialization."""
    import dagster as dg

    from fine_tune_assets.cli.service_commands import open_instance

    chosen = dialogues[NEW_REPORTS * number : NEW_REPORTS * (number + 1)]
    dropped = time.time()
    _write_batch(settings, f"2026-09-{number}", chosen, seed=1000 + number)
    seconds: dict[str, float] = {}
    with open_instance(settings) as instance:
        while len(seconds) < len(ASSETS):
            if time.time() - dropped > WAIT_SECONDS:
                raise RuntimeError(f"Batch {number} did not reach the instruction set in {WAIT_SECONDS:g} s.")
            for asset in ASSETS:
                record = instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
                if asset not in seconds and record and record[0].timestamp > dropped:
                    seconds[asset] = record[0].timestamp - dropped
            time.sleep(0.2)
    wait_until_idle(settings)
    return seconds


if __name__ == "__main__":
    main()
