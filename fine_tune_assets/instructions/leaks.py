"""Finds what two splits, or an evaluation set and a split that shapes the model, have in common.

Owns what is compared: the input of an example, and the example as a whole; and which files hold the evaluation sets: the
questions of retained abilities. What clinicians rated for the judge isn't among them: it measures the judge, which is not
trained. How two texts are found to say the same is a function that the caller hands over. Gives ids, kinds and figures, never
text.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.prompts.retrieval_contract import bare_question
from fine_tune_assets.core.records import PairFinder
from fine_tune_assets.instructions.set_examples import ExampleText
from fine_tune_assets.instructions.splits import PRECEDENCE

Kind = Literal["exact", "near", "semantic"]
Part = Literal["input", "whole example"]
EVALUATION = "evaluation"
"""Stands beside the splits as a group of its own: what it holds may neither be learned nor choose a checkpoint."""
TEST = "test"
LEARNED = "learned"
"""The splits that shape a model: train, and validation, which chooses the checkpoint."""
ABILITIES = "abilities"


@dataclass(frozen=True)
class EvaluationText:
    """A question of a set that a model is measured with."""

    text_id: str
    input: str
    output: str


@dataclass(frozen=True)
class LeakSearch:
    """How leaks are looked for."""

    find_pairs: PairFinder
    """Between splits, by meaning too."""
    find_words: PairFinder
    """Between the splits that shape a model and evaluation sets, by words alone: there a like meaning is no repetition, two
    questions about energy are two questions."""
    kinds: tuple[Kind, ...]
    """What `find_pairs` compares."""
    described: str
    """For an auditor: the kinds of likeness with their thresholds, and the encoder."""
    evaluation: tuple[EvaluationText, ...]


@dataclass(frozen=True)
class Compared:
    """An example or question, as it is compared."""

    row_id: str
    group: str
    subject: str
    """Its input, or the question itself where there is no input."""
    whole: str


@dataclass(frozen=True)
class Leak:
    """Two rows of different groups that say the same; `keeper` is in the split that keeps it."""

    keeper: Compared
    loser: Compared
    kind: Kind
    similarity: float
    part: Part

    @property
    def reason(self) -> str:
        return (
            f"{self.kind} duplicate of {self.keeper.row_id} in {self.keeper.group} ({self.part}), "
            f"similarity {self.similarity:.2f}"
        )


def read_evaluation_texts(folder: Path) -> tuple[EvaluationText, ...]:
    """Every question below `folder`, once. Raises GateClosedError if there is none, or a file can't be read: nobody could say
    what was kept out."""
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


def subject_of(example: ExampleText) -> str:
    """Without passages: a document may stand before a question of the lessons and one of the exam, as it does in use."""
    return bare_question(example.instruction, example.input).subject


def compared(example: ExampleText) -> Compared:
    """Without the instruction where there is an input: it is the same words in every example of a task, and would make any two
    short ones alike.
    """
    subject = subject_of(example)
    return Compared(example.example_id, example.split, subject, f"{subject}\n{example.output}")


def compared_questions(texts: Iterable[EvaluationText]) -> list[Compared]:
    return [Compared(t.text_id, EVALUATION, t.input, f"{t.input}\n{t.output}") for t in texts]


def find_leaks(rows: Sequence[Compared], search: LeakSearch) -> list[Leak]:
    """Every pair that may not be, by input and by whole example: between two splits, and between an evaluation set and a split
    that shapes the model."""
    shaping = [*(row for row in rows if row.group != TEST), *compared_questions(search.evaluation)]
    sides = [row.group if row.group == EVALUATION else LEARNED for row in shaping]
    return [
        *_leaks(rows, [row.group for row in rows], search.find_pairs),
        *_leaks(shaping, sides, search.find_words),
    ]


def _leaks(rows: Sequence[Compared], sides: Sequence[str], find_pairs: PairFinder) -> Iterator[Leak]:
    """`sides`: of each row, between which leaks are looked for."""
    parts: tuple[tuple[Part, list[str]], ...] = (
        ("input", [row.subject for row in rows]),
        ("whole example", [row.whole for row in rows]),
    )
    for part, texts in parts:
        for pair in find_pairs(texts, sides):
            if sides[pair.first] != sides[pair.second]:
                keeper, loser = sorted((rows[pair.first], rows[pair.second]), key=lambda row: _rank(row.group))
                yield Leak(keeper, loser, pair.kind, pair.similarity, part)


def _rank(group: str) -> int:
    return -1 if group == EVALUATION else PRECEDENCE.index(group)  # type: ignore[arg-type]


def losers(leaks: Iterable[Leak], order: Sequence[str]) -> dict[str, Leak]:
    """Id of each row that has to go → the most telling leak. `order`: ids of the rows, those that keep first.

    A row that goes takes nothing with it: what is like it only stays.
    """
    against: dict[str, list[Leak]] = {}
    for leak in leaks:
        against.setdefault(leak.loser.row_id, []).append(leak)
    gone: dict[str, Leak] = {}
    for row_id in order:
        standing = [leak for leak in against.get(row_id, ()) if leak.keeper.row_id not in gone]
        if standing:
            gone[row_id] = min(standing, key=lambda leak: (-leak.similarity, leak.keeper.row_id, leak.part))
    return gone
