"""Retained abilities of the base model, and of the demo's adapter with and without general data in its training split.

    bench_mix.py [--weights 0 0.1] [--seeds 1] [--set judge.ability_items=200]

Stages 1 to 5 run once. Each weight and seed is trained on a copy of the installation, with a recipe that differs in the mix and
the seed alone. Abilities are shares of correct answers. The grade is the judge's mean over the test examples, and shows what the
mix costs the task.
"""

import argparse
import json
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow.parquet as pq
import yaml
from bench_demo_seeds import RECIPE, UP_TO_SET
from rich.console import Console
from rich.table import Table
from sample_installation import sample_installation, use

from fine_tune_assets.cli.asset_commands import run_graph
from fine_tune_assets.cli.service_commands import prepare
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.recipes.loader import dump_recipe, load_recipe, parse_recipe
from fine_tune_assets.recipes.schema import BUNDLED

MEASURED = {"training_plans", "adapters", "judge_scores", "retained_abilities"}
BASE = "base"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.1], help="weights of the bundled data")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="SECTION.FIELD=VALUE")
    given = parser.parse_args()
    changes = [change.partition("=")[::2] for change in given.changes]
    console, runs = Console(stderr=True), list[dict[str, Any]]()
    with sample_installation("bench-mix-") as settings:
        prepare(settings)
        run_graph(settings, console, only=UP_TO_SET)
        for seed in range(1, given.seeds + 1):
            for weight in given.weights:
                runs.append(_measure(settings, weight, seed, changes, console))
                print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    _show(runs)


def _measure(made: Settings, weight: float, seed: int, changes: list[Any], console: Console) -> dict[str, Any]:
    data = made.data_dir.with_name(f"weight-{weight}-seed-{seed}")
    shutil.copytree(made.data_dir, data)
    shutil.copytree(made.dagster.home, data.with_name(f"{data.name}-dagster"))
    settings = use(data, str(_write_recipe(data, weight, seed, changes)))
    began = time.monotonic()
    run_graph(settings, console, only=UP_TO_SET | MEASURED)
    seconds = time.monotonic() - began
    abilities, graded, rows = (
        pq.read_table(settings.layout.table(name)).to_pylist()
        for name in ("retained_abilities", "judge_scores", "instruction_sets")
    )
    grades: dict[str, list[float]] = defaultdict(list)
    for row in graded:
        if row["score"] is not None:
            grades[row["model"]].append(row["score"])
    shutil.rmtree(data)
    return {
        "weight": weight,
        "seed": seed,
        "train": sum(row["split"] == "train" for row in rows),
        "general": sum(row["is_general"] for row in rows),
        "questions": {row["ability"]: row["question_count"] for row in abilities},
        "base": {row["ability"]: row["base_accuracy"] for row in abilities},
        "adapter": {row["ability"]: row["adapter_accuracy"] for row in abilities},
        "intervals": {row["ability"]: (row["low"], row["high"]) for row in abilities},
        "grades": {side: mean(values) for side, values in grades.items()},
        "seconds": round(seconds),
    }


def _write_recipe(data: Path, weight: float, seed: int, changes: list[Any]) -> Path:
    values = dump_recipe(load_recipe(RECIPE))
    values["mix"] = {BUNDLED: weight} if weight else {}
    values["training"]["seed"] = seed
    for name, value in changes:
        section, _, field = name.partition(".")
        values[section][field] = yaml.safe_load(value)
    parse_recipe(values, "with the changes")
    path = data / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def _show(runs: list[dict[str, Any]]) -> None:
    """Means over the seeds."""
    weights = sorted({run["weight"] for run in runs})
    of_weight = {weight: [run for run in runs if run["weight"] == weight] for weight in weights}
    columns = [f"mix {weight:g}" if weight else "no mix" for weight in weights]
    table = Table("share of correct answers", "questions", "base", *columns, title="Retained abilities")
    for ability, questions in runs[0]["questions"].items():
        accuracies = [mean(run["adapter"][ability] for run in of_weight[weight]) for weight in weights]
        table.add_row(ability, str(questions), f"{runs[0]['base'][ability]:.3f}", *(f"{one:.3f}" for one in accuracies))
    overall = [mean(mean(run["adapter"].values()) for run in of_weight[weight]) for weight in weights]
    base = mean(runs[0]["base"].values())
    table.add_row("mean of abilities", "", f"{base:.3f}", *(f"{one:.3f}" for one in overall), style="bold")
    grades = [mean(run["grades"]["adapter"] for run in of_weight[weight]) for weight in weights]
    table.add_row("grade of the task", "", f"{runs[0]['grades'][BASE]:.2f}", *(f"{one:.2f}" for one in grades))
    rows = [f"{of_weight[weight][0]['general']} of {of_weight[weight][0]['train']}" for weight in weights]
    table.add_row("general rows in train", "", "", *rows)
    Console().print(table)
    print(json.dumps({"seeds": len(of_weight[weights[0]]), "runs": runs}))


if __name__ == "__main__":
    main()
