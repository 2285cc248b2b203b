"""Lists the rows omitted between reports and verdict, with the reason and the setting or command that would keep them.

`account` counts reports, drafts and examples up to the instruction set. This module describes those
omissions and adds the omitted drafts of a model, training examples and grades. Texts contain counts, reasons and settings only.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.paths import Layout
from fine_tune_assets.lineage.account import Account, OmissionGroup
from fine_tune_assets.lineage.account_tables import fingerprint_files, read_columns
from fine_tune_assets.tables.record_classes import iter_records
from fine_tune_assets.tables.training_rows import ExampleLength, TooLongExamples, count_too_long

LATER_KINDS = ("dropped_drafts", "cut_drafts", "too_long", "untested", "ungraded")
"""Kinds that the account does not count."""
MAX_NAMES_SHOWN = 5
_TABLES = (
    "model_drafts",
    "example_lengths",
    "training_preflights",
    "instruction_sets",
    "judge_scores",
)
NONE_TOO_LONG = TooLongExamples(0, 0, 0)


@dataclass(frozen=True)
class LeftOut:
    """Omitted rows of one kind."""

    kind: str
    """Name of a reason of the account, or one of LATER_KINDS."""
    count: int
    text: str
    remedy: str
    """The setting or command that would keep them; code is between backticks, with at most one command."""


@dataclass(frozen=True)
class LeftOutCounts:
    model_drafts: int = 0
    dropped_drafts: Mapping[str, int] = field(default_factory=dict)
    """Reason → outputs of a model that no reviewer sees."""
    cut_drafts: int = 0
    """Outputs of a model that end at `max_new_tokens` and were not dropped."""
    too_long: TooLongExamples = NONE_TOO_LONG
    excludes_too_long: bool = False
    """Whether the recipe excludes examples that are too long; otherwise it refuses the training."""
    test_examples: int = 0
    untested: int = 0
    """Test examples that no model answered."""
    answers: int = 0
    ungraded: int = 0
    """Answers without a grade."""


def list_left_out(counts: LeftOutCounts) -> list[LeftOut]:
    """What is not zero, in the order of the stages."""
    return [found for found in (*_of_drafts(counts), *_of_examples(counts)) if found.count]


def describe_omissions(account: Account) -> list[LeftOut]:
    """What the account left out, by reason, with the batches."""
    return [
        LeftOut(group.reason.name, group.count, describe_group(group), group.reason.remedy)
        for group in account.group_by_reason()
    ]


def describe_group(group: OmissionGroup) -> str:
    """Such as "30 scrubbed reports: dropped as duplicates (near 30). Batches: a (20), b (10)."."""
    enters, details = group.reason.stage.enters, group.by_detail
    detail = f" ({_list_some(details)})" if details else ""
    return f"{_count_of(group.count, enters)}: {group.reason.meaning}{detail}. Batches: {_list_some(group.by_batch)}."


def _count_of(number: int, plural: str) -> str:
    singular = {"files and records": "file or record"}.get(plural, plural.removesuffix("s"))
    return f"{number:,} {singular if number == 1 else plural}"


def _list_some(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {number:,}" for name, number in list(counts.items())[:MAX_NAMES_SHOWN]]
    return ", ".join(shown) + (f" and {len(counts) - MAX_NAMES_SHOWN:,} more" if len(counts) > MAX_NAMES_SHOWN else "")


def _of_drafts(counts: LeftOutCounts) -> Iterator[LeftOut]:
    dropped = sum(counts.dropped_drafts.values())
    yield LeftOut(
        "dropped_drafts",
        dropped,
        f"{dropped:,} of {_count(counts.model_drafts, 'draft')} by a model were dropped: {_list(counts.dropped_drafts)}.",
        "Another verifier (`judge.verifier`) checks them again.",
    )
    yield LeftOut(
        "cut_drafts",
        counts.cut_drafts,
        f"{counts.cut_drafts:,} of {_count(counts.model_drafts, 'draft')} by a model were cut off at `max_new_tokens`.",
        "Raise `max_new_tokens` of the task. Stored drafts are written again only after its instruction changed.",
    )


def _of_examples(counts: LeftOutCounts) -> Iterator[LeftOut]:
    too_long = counts.too_long
    yield LeftOut(
        "too_long",
        too_long.count,
        too_long.describe(is_excluded=counts.excludes_too_long),
        too_long.remedy,
    )
    yield LeftOut(
        "untested",
        counts.untested,
        f"{counts.untested:,} of {_count(counts.test_examples, 'test example')} were not answered and graded.",
        f"`judge.test_examples: {counts.test_examples}` grades all of them.",
    )
    yield LeftOut(
        "ungraded",
        counts.ungraded,
        f"{counts.ungraded:,} of {_count(counts.answers, 'answer')} to test examples have no grade.",
        "`fine-tune materialize judge_scores` grades them again; the table states the reasons.",
    )


def _list(reasons: Mapping[str, int]) -> str:
    """Most frequent first."""
    return ", ".join(
        f"{reason} ({number:,})" for reason, number in sorted(reasons.items(), key=lambda one: (-one[1], one))
    )


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def find_left_out(layout: Layout) -> list[LeftOut]:
    """As `count_left_out`."""
    return list_left_out(count_left_out(layout))


def count_left_out(layout: Layout) -> LeftOutCounts:
    """Tables that were never written count as empty. Raises TableError, OSError or pa.ArrowInvalid for a table that can't be
    read."""
    drafts = read_columns(layout, "model_drafts", "dropped", "is_finished").to_pylist()
    scores = read_columns(layout, "judge_scores", "score", "example_id")
    test, untested = _count_untested(read_columns(layout, "instruction_sets", "split", "example_id"), scores)
    return LeftOutCounts(
        model_drafts=len(drafts),
        dropped_drafts=Counter(row["dropped"] for row in drafts if row["dropped"] is not None),
        cut_drafts=sum(row["dropped"] is None and not row["is_finished"] for row in drafts),
        too_long=count_too_long(
            iter_records(ExampleLength, read_columns(layout, "example_lengths", *ExampleLength.SCHEMA.names))
        ),
        excludes_too_long=read_columns(layout, "training_preflights", "too_long_policy")["too_long_policy"].to_pylist()
        == ["exclude"],
        test_examples=test,
        untested=untested,
        answers=scores.num_rows,
        ungraded=scores["score"].null_count,
    )


def _count_untested(examples: pa.Table, scores: pa.Table) -> tuple[int, int]:
    """The number of test examples, and how many of them have no answer. The grades of another set, and a set before its
    first grades, count as complete: then no setting cut the test."""
    test = set(examples.filter(pc.equal(examples["split"], "test"))["example_id"].to_pylist())
    answered = set(scores["example_id"].to_pylist())
    return len(test), len(test - answered) if answered and answered <= test else 0


class LeftOutCache:
    """Counts again only after a table has changed. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._cached: tuple[Any, list[LeftOut]] | None = None

    def latest(self) -> list[LeftOut]:
        """Raises as `count_left_out`."""
        with self._lock:
            stamp = tuple(fingerprint_files(self._layout.tables / name) for name in _TABLES)
            if self._cached is None or self._cached[0] != stamp:
                self._cached = (stamp, find_left_out(self._layout))
            return self._cached[1]
