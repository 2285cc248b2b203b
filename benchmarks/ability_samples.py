"""Draws the samples in `data/evaluation/abilities` from the published sets.

    python benchmarks/ability_samples.py SOURCES

SOURCES holds the published sets in the folders gen_eval_gauntlet and med_pubmedqa (`data/evaluation/abilities/SOURCE.md`). A
sample is the first 100 questions in the order of a SHA-256 of their text: the same sources make the same files.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "data" / "evaluation" / "abilities"
QUESTIONS = 100
SALT = "fine-tune-assets-1:"
GAUNTLET = {
    "arc_easy": ("arc_easy", "\nAnswer:"),
    "boolq": ("boolq", "\nAnswer:"),
    "commonsense_qa": ("commonsense_qa", ""),
    "strategy_qa": ("bigbench_strategy_qa", ""),
}
"""Sample → its source, and what is put behind each question, so that all choices are answers."""
DECISIONS = ("yes", "no", "maybe")


def questions_of(sources: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for sample, (name, behind) in GAUNTLET.items():
        lines = (sources / "gen_eval_gauntlet" / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line.strip()]
        yield sample, [_question(row["query"] + behind, row["choices"], row["gold"]) for row in rows]
    found = json.loads((sources / "med_pubmedqa" / "ori_pqal_dev.json").read_text(encoding="utf-8"))
    yield "pubmed_qa", [_of_pubmed(row) for row in found.values()]


def _of_pubmed(row: dict[str, Any]) -> dict[str, Any]:
    query = f"Abstract: {' '.join(row['CONTEXTS'])}\nQuestion: {row['QUESTION']}\nAnswer:"
    return _question(query, list(DECISIONS), DECISIONS.index(row["final_decision"]))


def _question(query: str, choices: list[str], gold: int) -> dict[str, Any]:
    return {"query": query, "choices": choices, "gold": gold}


def sample(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(questions, key=lambda q: hashlib.sha256((SALT + q["query"]).encode()).hexdigest())[:QUESTIONS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path)
    for name, questions in questions_of(parser.parse_args().sources):
        lines = [json.dumps(question, ensure_ascii=False) for question in sample(questions)]
        (TARGET / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
