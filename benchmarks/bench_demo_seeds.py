"""Whether the demo's gate opens whatever the training's seed is: stages 1 to 5 once, then training and judging for each seed.

    bench_demo_seeds.py [--seeds 10]

Exit status 1 if a verdict is not `promote`.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import time
from typing import Any

import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table
from sample_installation import sample_installation, use

from fine_tune_assets.cli.asset_commands import run_graph
from fine_tune_assets.cli.service_commands import prepare
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.judging.evaluation.example_selection import select_test_examples
from fine_tune_assets.judging.judges.grades import gradable_answer
from fine_tune_assets.judging.judges.judge_registry import judge_request, open_judge
from fine_tune_assets.recipes.loader import dump_recipe, load_recipe

RECIPE = "demo_smollm2"
UP_TO_SET = {
    "reports", "scrub_recall", "scrubbed_reports", "phi_spans",
    "unique_reports", "duplicate_reports", "scrubbed_corrections", "quarantined_corrections", "model_drafts", "drafted_examples",
    "approved_examples", "general_examples", "base_models", "instruction_sets", "judge_agreement",
}  # fmt: skip
UP_TO_VERDICT = {
    "training_plans", "adapters", "judge_scores", "retained_abilities", "answer_checks",
    "robustness_results", "memorization_results", "document_answers", "promotion_verdicts",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    given = parser.parse_args()
    console, rows = Console(stderr=True), list[dict[str, Any]]()
    with sample_installation("bench-seeds-") as settings:
        prepare(settings)
        run_graph(settings, console, only=UP_TO_SET)
        for seed in range(given.first, given.first + given.seeds):
            rows.append(_verdict_of(settings, seed, console))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    _show(rows)


def _verdict_of(made: Settings, seed: int, console: Console) -> dict[str, Any]:
    """On a copy of the installation, with a recipe that differs in the seed alone."""
    data = made.data_dir.with_name(f"seed-{seed}")
    shutil.copytree(made.data_dir, data)
    shutil.copytree(made.dagster.home, data.with_name(f"{data.name}-dagster"))
    values = dump_recipe(load_recipe(RECIPE))
    values["training"]["seed"] = seed
    recipe = data / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    settings = use(data, str(recipe))
    began, cpu = time.monotonic(), _cpu_seconds()
    run_graph(settings, console, only=UP_TO_SET | UP_TO_VERDICT)
    seconds, cpu_seconds = time.monotonic() - began, _cpu_seconds() - cpu
    row = pq.read_table(settings.layout.table("promotion_verdicts")).to_pylist()[0]
    answers, grading_seconds = _grade_again(settings)
    shutil.rmtree(data)
    return {
        "seed": seed,
        "decision": row["decision"],
        "gain": row["candidate_score"] - row["incumbent_score"],
        "low": row["gain_low"],
        "high": row["gain_high"],
        "examples": row["example_count"],
        "seconds": round(seconds),
        "cpu_seconds": round(cpu_seconds),
        "graded_answers": answers,
        "grading_seconds": round(grading_seconds, 1),
        "reasons": row["reasons"],
    }


def _grade_again(settings: Settings) -> tuple[int, float]:
    """Answers of the comparison, and the seconds in which a newly opened judge grades them."""
    recipe = load_recipe(settings.recipe)
    table = pq.read_table(settings.layout.table("instruction_sets"))
    examples = {one.example_id: one for one in select_test_examples(table, recipe.judge.test_examples)}
    rows = pq.read_table(settings.layout.table("judge_scores"), columns=["example_id", "answer"]).to_pylist()
    answers = [
        gradable_answer(examples[row["example_id"]], str(number), row["answer"]) for number, row in enumerate(rows)
    ]
    began = time.monotonic()
    with open_judge(judge_request(settings, recipe)) as judge:
        judge.grade(answers, ignore_progress)
    return len(answers), time.monotonic() - began


def _cpu_seconds() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table(
        "seed",
        "verdict",
        "gain",
        "95 % interval",
        "seconds",
        "CPU seconds",
        "of it, grading",
        title="The demo in several seeds",
    )
    for row in rows:
        interval = f"{row['low']:.2f} to {row['high']:.2f}"
        table.add_row(
            str(row["seed"]),
            row["decision"],
            f"{row['gain']:.2f}",
            interval,
            str(row["seconds"]),
            str(row["cpu_seconds"]),
            f"{row['grading_seconds']} s, {row['graded_answers']} answers",
        )
    Console().print(table)
    promoted = sum(row["decision"] == "promote" for row in rows)
    print(json.dumps({"seeds": len(rows), "promoted": promoted, "cores": os.cpu_count(), "rows": rows}))
    sys.exit(0 if promoted == len(rows) else 1)


if __name__ == "__main__":
    main()
