"""The loss mask as a picture: a page that shows of some examples which tokens are learned, and where the model learns to stop.

Owns the choice of examples and the page. It holds text of reports: it is for the people of this installation, and lies in the
cache, which is emptied when a patient is erased.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.training.supervision.loss_mask import IGNORED, SupervisedRow

LOSS_MASKS = "loss_masks"
"""Folder in the cache."""
SHOWN_PER_TASK = 3
_PAGE = Path(__file__).with_name("pages") / "loss_mask.html"


@dataclass(frozen=True)
class Piece:
    text: str
    ids: str
    kind: str
    """`read`, `learned` or `stop`; with `special` for a token that is not made of letters."""


@dataclass(frozen=True)
class ShownExample:
    example_id: str
    task: str
    tokens: int
    learned: int
    pieces: tuple[Piece, ...]


def chosen_examples(instruction_set: pa.Table) -> list[str]:
    """Ids of some training examples of each task: always the same ones of the same set, and no first or shortest ones."""
    training = instruction_set.filter(pc.equal(instruction_set.column("split"), "train"))
    pairs = zip(training.column("task").to_pylist(), training.column("example_id").to_pylist(), strict=True)
    ordered = sorted(pairs, key=lambda pair: (pair[0], fingerprint_text(pair[1])))
    of_tasks = (list(of_task) for _, of_task in groupby(ordered, key=lambda pair: pair[0]))
    return [example for of_task in of_tasks for _, example in of_task[:SHOWN_PER_TASK]]


def shown_example(row: SupervisedRow, task: str, tokenizer: FolderTokenizer, stop_ids: Collection[int]) -> ShownExample:
    pieces: list[Piece] = []
    start = 0
    for is_learned, run in groupby(row.labels, key=lambda label: label != IGNORED):
        end = start + len(list(run))
        for ids, text in tokenizer.pieces(row.input_ids, start, end):
            pieces.append(Piece(text, " ".join(map(str, ids)), _kind(ids, is_learned, tokenizer, stop_ids)))
        start = end
    return ShownExample(row.example_id, task, len(row.input_ids), row.supervised, tuple(pieces))


def _kind(ids: Sequence[int], is_learned: bool, tokenizer: FolderTokenizer, stop_ids: Collection[int]) -> str:
    kind = ("stop" if ids[0] in stop_ids else "learned") if is_learned else "read"
    return f"{kind} special" if tokenizer.is_special(ids[0]) else kind


def mask_page(examples: Iterable[ShownExample], facts: Sequence[tuple[str, Any]]) -> str:
    """The page, whole in itself: it asks for nothing from elsewhere and runs nothing."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_PAGE.read_text(encoding="utf-8"))
    by_task = [(task, list(shown)) for task, shown in groupby(examples, key=lambda example: example.task)]
    return template.render(tasks=by_task, facts=facts)
