"""Measures the shipped scrubber and judge on the shipped labelled sets, and keeps the figures with the repository.

Every installation that changed none of them takes these figures instead of measuring for a minute
(tables/shipped_measurements.py).
"""

import tempfile
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.judging.__main__ import measure_judge as measure_agreement
from fine_tune_assets.judging.judges.judge_registry import judge_request
from fine_tune_assets.phi.__main__ import measure_scrub_recall as measure_recall
from fine_tune_assets.phi.measurement.__main__ import list_misses
from fine_tune_assets.phi.measurement.misses import save_shipped_misses, select_sets_with_misses
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.shipped_measurements import MEASUREMENTS_FOLDER


def show(done: int, total: int, what: str) -> None:
    print(f"{done} of {total} {what}", flush=True)


def main() -> None:
    recipe, evaluation = load_recipe("demo_smollm2"), PROJECT_DIR / "data" / "evaluation"
    MEASUREMENTS_FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        output = str(Path(scratch) / "measured.parquet")
        gold = [str(path) for path in sorted((evaluation / "phi").glob("*.jsonl"))]
        settings = asdict(recipe.scrubber)
        measure_recall({"gold": gold, "output": output, "settings": settings, "is_shipped": True}, show)
        missed = select_sets_with_misses([Path(path) for path in gold], pq.read_table(output))
        list_misses({"gold": [str(path) for path in missed], "output": output, "settings": settings}, show)
        save_shipped_misses(missed, settings, pq.read_table(output))
        request = {
            "labelled_sets": str(evaluation / "judge"),
            "own_ratings": "",
            "accept_score": recipe.judge.accept_score,
            "judge": judge_request(Settings(data_dir=Path(scratch)), recipe),
            "output": output,
            "is_shipped": True,
        }
        measure_agreement(request, show)


if __name__ == "__main__":
    main()
