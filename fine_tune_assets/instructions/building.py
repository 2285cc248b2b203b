"""Builds an instruction set: approved examples in their frozen splits, with general data mixed into train.

Owns what is left out and why: exact repetitions, and examples whose input another split already holds. Does not know
how examples were approved, nor where the set is kept.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.chat import conversation
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.core.tables import (
    APPROVED_EXAMPLES,
    GENERAL_EXAMPLES,
    INSTRUCTION_SETS,
    check_table,
    table_of,
)
from fine_tune_assets.instructions.splitting import SPLITS, Split, split_of
from fine_tune_assets.recipes.schema import SplitSettings

GENERAL_TASK = "general"
_BATCH_ROWS = 1024
_PRECEDENCE: tuple[Split, ...] = ("test", "validation", "train")
"""Of two splits that hold the same input, the earlier one here keeps it: the exam before the lessons."""

_EXAMPLES = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("example_id", "split", "instruction", "input", "output")]
)


class TooFewExamplesError(GateClosedError):
    """Fewer approved examples than the recipe asks for."""


class EmptySplitError(GateClosedError):
    """A split without an example: nothing could be trained, or nothing measured."""


@dataclass(frozen=True)
class Dropped:
    """An example that was left out, and why. The reason names ids, never text."""

    example_id: str
    reason: str


@dataclass(frozen=True)
class InstructionSet:
    table: pa.Table
    """INSTRUCTION_SETS, sorted by split and example id."""
    examples: pa.Table
    """The same rows in the same order as instruction, input and output, for exports that keep these apart."""
    dropped: tuple[Dropped, ...]
    general_wanted: int
    """General examples that the recipe's fraction asks for; fewer are in the set when there were not more."""


def build_instruction_set(
    approved: pa.Table,
    general: pa.Table,
    system_prompt: str,
    split: SplitSettings,
    general_fraction: float,
    seed: int,
) -> InstructionSet:
    """Build the set; the same for any order of rows. `general_fraction` is the share of general data in train.

    Raises TooFewExamplesError below `split.minimum_examples`, and EmptySplitError if a split would be empty.
    """
    check_table(approved, APPROVED_EXAMPLES)
    check_table(general, GENERAL_EXAMPLES)
    kept, dropped = _without_repetition(_assigned(approved, split))
    _require_enough(kept, split.minimum_examples)
    trained = sum(row["split"] == "train" for row in kept)
    wanted = round(trained * general_fraction / (1 - general_fraction))
    mixed = choose_general(general, wanted, seed, held_out={_subject(r) for r in kept if r["split"] != "train"})
    rows = sorted([*kept, *mixed], key=lambda row: (row["split"], row["example_id"]))
    return InstructionSet(
        table=table_of((_as_conversation(row, system_prompt) for row in rows), INSTRUCTION_SETS),
        examples=table_of(({name: row[name] for name in _EXAMPLES.names} for row in rows), _EXAMPLES),
        dropped=tuple(sorted(dropped, key=lambda d: d.example_id)),
        general_wanted=wanted,
    )


def choose_general(general: pa.Table, count: int, seed: int, held_out: set[str]) -> list[dict[str, Any]]:
    """`count` rows, each source by its share, or all that there are.

    A keyed hash orders the rows of a source, and each gets its place between 0 and 1; the lowest places of all sources
    are taken. So a larger count adds rows and takes none away.
    """
    by_source: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(general):
        if _subject(row) not in held_out:
            by_source.setdefault(row["source"], []).append(row)
    key = str(seed).encode()
    placed: list[tuple[float, str, dict[str, Any]]] = []
    for rows in by_source.values():
        hashed = sorted((keyed_hash(key, row["fingerprint"]), row["example_id"], row) for row in rows)
        placed += [((rank + 0.5) / len(rows), row_id, row) for rank, (_, row_id, row) in enumerate(hashed)]
    chosen = sorted(placed, key=lambda item: item[:2])[:count]
    return [
        {**row, "split": "train", "task": GENERAL_TASK, "is_general": True, "patient_key": None} for *_, row in chosen
    ]


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        yield from batch.to_pylist()


def _assigned(approved: pa.Table, split: SplitSettings) -> list[dict[str, Any]]:
    """Rows with their split, the splits that keep an input first."""
    rows = [
        {
            **row,
            "split": split_of(row["patient_key"], split.salt, split.validation_fraction, split.test_fraction),
            "is_general": False,
        }
        for row in _rows(approved)
    ]
    return sorted(rows, key=lambda row: (_PRECEDENCE.index(row["split"]), row["example_id"]))


def _without_repetition(rows: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Dropped]]:
    kept: list[dict[str, Any]] = []
    dropped: list[Dropped] = []
    first_with_content: dict[str, dict[str, Any]] = {}
    first_with_subject: dict[str, dict[str, Any]] = {}
    for row in rows:
        same = first_with_content.setdefault(row["fingerprint"], row)
        holder = first_with_subject.setdefault(_subject(row), row)
        if holder["split"] != row["split"]:
            reason = f"its input is in the {holder['split']} split for another patient, as {holder['example_id']}"
            dropped.append(Dropped(row["example_id"], reason))
        elif same is not row:
            dropped.append(Dropped(row["example_id"], f"exactly the same example as {same['example_id']}"))
        else:
            kept.append(row)
    return kept, dropped


def _subject(row: Mapping[str, Any]) -> str:
    """What an example is about, as leakage is told by: its input, or the question itself where there is no input."""
    return " ".join((row["input"].strip() or row["instruction"]).casefold().split())


def _require_enough(kept: list[dict[str, Any]], minimum: int) -> None:
    if len(kept) < minimum:
        raise TooFewExamplesError(
            f"There are {len(kept)} distinct approved examples and the recipe asks for {minimum}. "
            "Review more drafts: fine-tune review list."
        )
    filled = {row["split"] for row in kept}
    empty = [name for name in SPLITS if name not in filled]
    if empty:
        raise EmptySplitError(
            f"The {' and the '.join(empty)} split would be empty with {len(kept)} approved examples. "
            "Approve examples of more patients, or raise the split's fraction in the recipe."
        )


def _as_conversation(row: Mapping[str, Any], system_prompt: str) -> dict[str, Any]:
    return {
        **{name: row[name] for name in INSTRUCTION_SETS.names if name in row},
        "messages": conversation(system_prompt, row["instruction"], row["input"], row["output"]),
    }
