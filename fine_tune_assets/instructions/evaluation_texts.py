"""Reads the sets that models are measured with, so that nothing of them is trained on.

Owns which files these are: the questions of retained abilities. A set that can't be read closes the gate: without it nobody
can say what was kept out. What clinicians rated for the judge isn't among them: it measures the judge, which is not trained.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.instructions.leaks import EvaluationText

ABILITIES = "abilities"


def read_evaluation_texts(folder: Path) -> tuple[EvaluationText, ...]:
    """Every question below `folder`, once. Raises GateClosedError if there is none, or a file can't be read."""
    texts: dict[tuple[str, str], EvaluationText] = {}
    for path in sorted((folder / ABILITIES).glob("*.jsonl")):
        try:
            for text in _questions(path):
                texts.setdefault((text.input, text.output), text)
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise GateClosedError(f"The evaluation set {path.name} can't be read ({type(error).__name__}).") from None
    if not texts:
        raise GateClosedError(f"There is no evaluation set in {folder.name}/{ABILITIES}.")
    return tuple(texts.values())


def _questions(path: Path) -> Iterator[EvaluationText]:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            row = json.loads(line)
            yield EvaluationText(f"{path.stem} line {number}", row["query"], row["choices"][int(row["gold"])])
