"""A language model as judge on pairs of answers of which people preferred one: LLMBar and PandaLM, in a fixed sample.

    python benchmarks/bench_llm_pairs.py MODEL.gguf [--pairs 30] [--ways pairwise statements]

Each pair is judged twice: by a direct choice in both orders (*pairwise*), and by the two grades of a judge on `statements`. These
pairs have neither a record nor a reference, so that judge asks what the instruction requires (completeness) and nothing else. A
table, then one JSON line.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.judging.judges.human_agreement import measure_agreement
from fine_tune_assets.judging.judges.judge_registry import judge_request, open_judge
from fine_tune_assets.judging.judges.labelled_sets import PairSet, read_labelled_sets
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import iter_records

SETS = ("LLMBar_Natural", "pandalm")
WAYS = ("pairwise", "statements")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="GGUF file or Hugging Face folder of the judge")
    parser.add_argument("--pairs", type=int, default=30, help="pairs of each set")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="how the pairs are judged")
    given = parser.parse_args()
    go_offline()
    samples = [sample(one, given.pairs) for one in labelled_pairs()]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch, open_judge(request(given.model, Path(scratch))) as judge:
        assert isinstance(judge, StatementJudge)
        for way in given.ways:
            compared = judge if way == "pairwise" else replace(judge, pairwise=None)
            for one in samples:
                start = time.perf_counter()
                (found,) = iter_records(JudgeAgreement, measure_agreement(compared, [one], 7.0, ignore_progress))
                rows.append(figures(way, found, time.perf_counter() - start))
                print(rows[-1], file=sys.stderr, flush=True)
    show(rows)
    print(json.dumps({"model": given.model.name, "rows": rows}))


def labelled_pairs() -> list[PairSet]:
    sets = read_labelled_sets(PROJECT_DIR / "data" / "evaluation" / "judge")
    return [one for one in sets if isinstance(one, PairSet) and one.name in SETS]


def sample(pairs: PairSet, count: int) -> PairSet:
    """Pairs with a majority, by a hash of their texts."""
    rows = sorted(
        (row for row in pairs.rows if row.majority),
        key=lambda row: fingerprint_text(row.pair.output_1 + row.pair.output_2),
    )
    return replace(pairs, rows=tuple(rows[:count]))


def request(model: Path, scratch: Path) -> dict[str, Any]:
    settings, recipe = load_settings(), load_recipe("demo_smollm2")
    rubric = tuple(
        criterion for criterion in read_rubric("general", "clinical") if criterion.measured_by == "reference"
    )
    judge = replace(
        recipe.judge, kind="statements", rubric=rubric, backend="folder", model=str(model.absolute()), concurrency=1
    )
    asked = judge_request(settings, replace(recipe, judge=judge))
    folders = {name: str(scratch / name) for name in ("run_folder", "weights")}
    return {**asked, **folders, "cache": str(scratch / "grades.sqlite")}


def figures(way: str, row: JudgeAgreement, seconds: float) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 3)

    return {
        "way": way,
        "set": row.labelled_set,
        "pairs": row.answer_count,
        "without a choice": row.ungraded_count,
        "agreement": rounded(row.accuracy),
        "low": rounded(row.accuracy_low),
        "high": rounded(row.accuracy_high),
        "same in both orders": rounded(row.position_consistency),
        "longer preferred": rounded(row.judge_length_preference),
        "by people": rounded(row.human_length_preference),
        "reason": row.missing_reason,
        "seconds": round(seconds),
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="Agreement with people's choices")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*("–" if value is None else str(value) for value in row.values()))
    Console(stderr=True, width=160).print(table)


if __name__ == "__main__":
    main()
