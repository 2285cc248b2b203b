"""A language model as judge of rated summaries, by statements and by rubric: its agreement with clinicians and its time.

    python benchmarks/bench_llm_judge.py MODEL.gguf [--answers 20] [--kinds statements rubric]
                                         [--folder FOLDER] [--without-controls]

The answers are those of the rated dialogues that fitted no weight, whole dialogues in the order of a hash. A table, then one JSON
line. The verifier is measured on the same answers. A judge that fails its planted controls grades nothing; `--without-controls`
shows what its grades would be worth. With `--folder` an interrupted run resumes from the replies in FOLDER; its seconds per
answer are then too low.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.engines.chat_client import ChatClient
from fine_tune_assets.judging.judges.grades import Grade, Judge
from fine_tune_assets.judging.judges.human_agreement import finite_score
from fine_tune_assets.judging.judges.judge_registry import judge_request, open_judge
from fine_tune_assets.judging.judges.labelled_sets import RatedAnswer, RatedSet, read_rated_summaries
from fine_tune_assets.judging.judges.llm_reader import LlmReader
from fine_tune_assets.judging.judges.reader_prompts import Inquiry
from fine_tune_assets.judging.judges.rubrics import Rubric, read_rubric
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets.judging.judges.word_overlap_fit import is_training_dialogue
from fine_tune_assets.judging.statistics.association import bootstrap_interval, spearman
from fine_tune_assets.recipes.loader import load_recipe

RATED = PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv"
MEASURES = ("FactualF1", "OmissionRate", "FactualPrecision", "FactualRecall")
KINDS = ("verifier", "statements", "rubric")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="GGUF file or Hugging Face folder of the judge")
    parser.add_argument("--answers", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--folder", type=Path, help="keeps the model's replies; a temporary folder by default")
    parser.add_argument("--without-controls", action="store_true", help="grade even if the planted controls fail")
    given = parser.parse_args()
    go_offline()
    rated = sample(given.answers)
    rows: list[dict[str, Any]] = []
    for kind in given.kinds:
        with scratch_folder(given.folder) as scratch, open_judge(request(kind, given.model, scratch)) as judge:
            start = time.perf_counter()
            asked = without_controls(judge) if given.without_controls else judge
            grades = asked.grade([row.answered for row in rated.rows], ignore_progress)
            seconds = time.perf_counter() - start
        for reason, count in Counter(grade.reason for grade in grades if grade.score is None).items():
            print(f"{kind}: {count} answers without a grade: {reason}", file=sys.stderr)
        rows += [
            figures(kind, name, measure, grades, rated.rows, seconds)
            for name in ("overall", *sorted({name for grade in grades for name in grade.criteria}))
            for measure in MEASURES
        ]
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    show(rows)
    print(json.dumps({"model": given.model.name, "answers": len(rated.rows), "rows": rows}))


@contextmanager
def scratch_folder(kept: Path | None) -> Iterator[Path]:
    """The kept folder, or a temporary one."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.absolute()
    else:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)


class UncontrolledReader(LlmReader):
    """Accepts replies whatever the controls say."""

    def _check_controls(self, client: ChatClient, inquiries: Sequence[Inquiry]) -> str:  # noqa: ARG002
        return ""


def without_controls(judge: Judge) -> Judge:
    """The same judge; only one that reads statements has controls."""
    if not isinstance(judge, StatementJudge) or not isinstance(judge.reader, LlmReader):
        return judge
    values = {each.name: getattr(judge.reader, each.name) for each in fields(LlmReader)}
    return replace(judge, reader=UncontrolledReader(**values))


def sample(count: int) -> RatedSet:
    """Whole dialogues, so that a model reads each once."""
    rated = read_rated_summaries(RATED)
    unseen = [row for row in rated.rows if not is_training_dialogue(row)]
    ordered = sorted(unseen, key=lambda row: fingerprint_text(row.group))
    return replace(rated, rows=tuple(ordered[:count]))


def request(kind: str, model: Path, scratch: Path) -> dict[str, Any]:
    settings, recipe = load_settings(), load_recipe("demo_smollm2")
    rubric: Rubric = read_rubric("clinical", "clinical")
    own = {} if kind == "verifier" else {"backend": "folder", "model": str(model.absolute()), "concurrency": 1}
    judge = replace(recipe.judge, kind=kind, rubric=rubric, **own)
    asked = judge_request(settings, replace(recipe, judge=judge))
    folders = {name: str(scratch / name) for name in ("run_folder", "weights")}
    return {**asked, **folders, "cache": str(scratch / "grades.sqlite")}


def figures(
    kind: str, name: str, measure: str, grades: Sequence[Grade], rows: Sequence[RatedAnswer], seconds: float
) -> dict[str, Any]:
    scores = [finite_score(grade, None if name == "overall" else name) for grade in grades]
    graded = [(score, row) for score, row in zip(scores, rows, strict=True) if score is not None]
    values = np.array([score for score, _ in graded])
    people = np.array([row.ratings[measure] for _, row in graded])
    found = bootstrap_interval(lambda i: spearman(values[i], people[i]), [row.group for _, row in graded])
    low, value, high = (None, None, None) if found is None else (found.low, found.value, found.high)
    return {
        "judge": kind,
        "grade": name,
        "measure": measure,
        "answers": len(graded),
        "rank correlation": None if value is None else round(value, 2),
        "95 %": "" if low is None or high is None else f"{low:.2f} to {high:.2f}",
        "different grades": len(set(values)),
        "seconds per answer": round(seconds / len(rows), 1),
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(*rows[0], title="Agreement with clinicians")
    for row in rows:
        table.add_row(*("–" if value is None else str(value) for value in row.values()))
    Console(stderr=True, width=180).print(table)


if __name__ == "__main__":
    main()
