"""Renders a page that shows, for some examples, which tokens are supervised and which stop tokens are learned.

The page contains text of reports. It is stored in the cache, which is emptied when a subject is erased.
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
from fine_tune_assets.training.supervision.loss_mask import IGNORE_INDEX, SupervisedRow

LOSS_MASKS = "loss_masks"
"""Folder in the cache."""
EXAMPLES_PER_TASK = 3
_PAGE = Path(__file__).with_name("pages") / "loss_mask.html"


@dataclass(frozen=True)
class Piece:
    text: str
    ids: str
    kind: str
    """`context`, `supervised` or `stop`; with `special` for a special token."""


@dataclass(frozen=True)
class MaskExample:
    example_id: str
    task: str
    tokens: int
    supervised_tokens: int
    pieces: tuple[Piece, ...]


def select_examples(instruction_set: pa.Table) -> list[str]:
    """Ids of some training examples of each task: a deterministic selection that is not biased by order or length."""
    training = instruction_set.filter(pc.equal(instruction_set.column("split"), "train"))
    pairs = zip(training.column("task").to_pylist(), training.column("example_id").to_pylist(), strict=True)
    ordered = sorted(pairs, key=lambda pair: (pair[0], fingerprint_text(pair[1])))
    tasks = (list(task_pairs) for _, task_pairs in groupby(ordered, key=lambda pair: pair[0]))
    return [example for task_pairs in tasks for _, example in task_pairs[:EXAMPLES_PER_TASK]]


def make_mask_example(
    row: SupervisedRow, task: str, tokenizer: FolderTokenizer, stop_ids: Collection[int]
) -> MaskExample:
    pieces: list[Piece] = []
    start = 0
    for is_supervised, run in groupby(row.labels, key=lambda label: label != IGNORE_INDEX):
        end = start + len(list(run))
        for ids, text in tokenizer.split_pieces(row.input_ids, start, end):
            pieces.append(Piece(text, " ".join(map(str, ids)), _kind(ids, is_supervised, tokenizer, stop_ids)))
        start = end
    return MaskExample(row.example_id, task, len(row.input_ids), row.supervised_tokens, tuple(pieces))


def _kind(ids: Sequence[int], is_supervised: bool, tokenizer: FolderTokenizer, stop_ids: Collection[int]) -> str:
    kind = ("stop" if ids[0] in stop_ids else "supervised") if is_supervised else "context"
    return f"{kind} special" if tokenizer.is_special(ids[0]) else kind


def render_mask_page(examples: Iterable[MaskExample], facts: Sequence[tuple[str, Any]]) -> str:
    """A self-contained page: no external resources and no scripts."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_PAGE.read_text(encoding="utf-8"))
    by_task = [
        (task, list(task_examples)) for task, task_examples in groupby(examples, key=lambda example: example.task)
    ]
    return template.render(tasks=by_task, facts=facts)
