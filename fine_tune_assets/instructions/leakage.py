"""Finds duplicates between splits, and between evaluation sets and the splits that shape the model.

Compares the input of an example and the whole example. The evaluation sets are the questions of retained abilities. General data
is also compared with the sets that judges are measured on. Results hold ids, kinds and numbers, never text.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.prompts.retrieval_contract import strip_passages
from fine_tune_assets.core.shared_records import PairFinder
from fine_tune_assets.instructions.set_examples import ExampleText
from fine_tune_assets.instructions.splits import PRECEDENCE

Kind = Literal["exact", "near", "semantic"]
Part = Literal["input", "whole example"]
EVALUATION = "evaluation"
"""The group of evaluation questions, which must neither be trained on nor choose a checkpoint."""
JUDGED = "judged"
"""The group of questions whose answers people rated, to measure judges."""
GENERAL = "general"
"""The group of general examples, if they are compared with the train split too."""
TEST = "test"
TRAINING_SIDE = "learned"
"""The side of train and validation, which chooses the checkpoint."""
ABILITIES = "abilities"


@dataclass(frozen=True)
class EvaluationText:
    """A question of an evaluation set."""

    text_id: str
    input: str
    output: str


@dataclass(frozen=True)
class LeakSearch:
    find_pairs: PairFinder
    """Compares splits, by words and meaning."""
    find_lexical_pairs: PairFinder
    """Compares train and validation with evaluation sets, by words alone: questions about one topic are not duplicates."""
    kinds: tuple[Kind, ...]
    """Kinds that `find_pairs` detects."""
    description: str
    """The search method for an auditor: kinds with thresholds, and the encoder."""
    evaluation: tuple[EvaluationText, ...]
    judged: tuple[EvaluationText, ...] = ()
    """Compared with general examples, by words."""


@dataclass(frozen=True)
class ComparedRow:
    """An example or question in the form for comparison."""

    row_id: str
    group: str
    question: str
    """The input, or the instruction if the input is empty."""
    whole: str


@dataclass(frozen=True)
class Leak:
    """Two duplicate rows of different groups; the group of `kept` takes precedence."""

    kept: ComparedRow
    dropped: ComparedRow
    kind: Kind
    similarity: float
    part: Part

    @property
    def reason(self) -> str:
        return (
            f"{self.kind} duplicate of {self.kept.row_id} in {self.kept.group} ({self.part}), "
            f"similarity {self.similarity:.2f}"
        )


def read_evaluation_texts(folder: Path) -> tuple[EvaluationText, ...]:
    """Read every distinct question below `folder`. Raises GateClosedError if there is none or a file can't be read."""
    texts: dict[tuple[str, str], EvaluationText] = {}
    for path in sorted((folder / ABILITIES).glob("*.jsonl")):
        try:
            for text in _questions(path):
                texts.setdefault((text.input, text.output), text)
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise GateClosedError(
                f"The evaluation set {path.name} can't be read ({type(error).__name__}). Restore the file."
            ) from None
    if not texts:
        raise GateClosedError(f"{folder.name}/{ABILITIES} has no evaluation set. Restore its .jsonl files.")
    return tuple(texts.values())


def _questions(path: Path) -> Iterator[EvaluationText]:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            row = json.loads(line)
            yield EvaluationText(f"{path.stem} line {number}", row["query"], row["choices"][int(row["gold"])])


def question_text(example: ExampleText) -> str:
    """The question without passages, because training and test examples may cite the same document."""
    return strip_passages(example.instruction, example.input).topic


def compared_rows(example: ExampleText, group: str) -> Iterator[ComparedRow]:
    """The example, and each earlier exchange of its conversation, since those shape the model too.

    Excludes the instruction if there is an input: the shared instruction would make short examples of a task similar.
    """
    question = question_text(example)
    yield ComparedRow(example.example_id, group, question, f"{question}\n{example.output}")
    turns = [turn.content for turn in example.history or ()]
    for earlier, answer in zip(turns[::2], turns[1::2], strict=True):
        yield ComparedRow(example.example_id, group, earlier, f"{earlier}\n{answer}")


def evaluation_rows(texts: Iterable[EvaluationText], group: str = EVALUATION) -> list[ComparedRow]:
    return [ComparedRow(t.text_id, group, t.input, f"{t.input}\n{t.output}") for t in texts]


def find_leaks(rows: Sequence[ComparedRow], search: LeakSearch) -> list[Leak]:
    """All duplicates, by input and by whole example, between splits, between evaluation sets and train or validation, and between
    general examples and rated answers."""
    shaping = [*(row for row in rows if row.group != TEST), *evaluation_rows(search.evaluation)]
    sides = [row.group if row.group == EVALUATION else TRAINING_SIDE for row in shaping]
    general = [row for row in rows if row.group == GENERAL]
    beside_judged = [*general, *evaluation_rows(search.judged, JUDGED)] if general else []
    return [
        *_leaks(rows, [row.group for row in rows], search.find_pairs),
        *_leaks(shaping, sides, search.find_lexical_pairs),
        *_leaks(beside_judged, [row.group for row in beside_judged], search.find_lexical_pairs),
    ]


def _leaks(rows: Sequence[ComparedRow], sides: Sequence[str], find_pairs: PairFinder) -> Iterator[Leak]:
    """`sides`: the side of each row; only rows of different sides are compared."""
    parts: tuple[tuple[Part, list[str]], ...] = (
        ("input", [row.question for row in rows]),
        ("whole example", [row.whole for row in rows]),
    )
    for part, texts in parts:
        for pair in find_pairs(texts, sides):
            if sides[pair.first] != sides[pair.second]:
                keeper, loser = sorted((rows[pair.first], rows[pair.second]), key=lambda row: _precedence(row.group))
                yield Leak(keeper, loser, pair.kind, pair.similarity, part)


def _precedence(group: str) -> int:
    """Evaluation texts first, general examples last."""
    return (EVALUATION, JUDGED, *PRECEDENCE, GENERAL).index(group)


def resolve_leaks(leaks: Iterable[Leak], order: Sequence[str]) -> dict[str, Leak]:
    """Id of each row to drop → its most similar leak. `order`: row ids, by precedence.

    A dropped row causes no further drops: a row that duplicates only dropped rows stays.
    """
    against: dict[str, list[Leak]] = {}
    for leak in leaks:
        against.setdefault(leak.dropped.row_id, []).append(leak)
    dropped: dict[str, Leak] = {}
    for row_id in order:
        remaining = [leak for leak in against.get(row_id, ()) if leak.kept.row_id not in dropped]
        if remaining:
            dropped[row_id] = min(remaining, key=lambda leak: (-leak.similarity, leak.kept.row_id, leak.part))
    return dropped
