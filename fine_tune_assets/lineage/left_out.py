"""Lists what the stages left out between reports and verdict, with the reason and the setting or command that would keep it.

Reads stored tables. The texts contain counts, reasons and names of settings only. Duplicates are not listed, since they are a
figure of the pipeline; neither is what waits for a person, such as reviews and quarantined corrections.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.paths import Layout
from fine_tune_assets.lineage.set_history import read_newest_excluded
from fine_tune_assets.recipes.schema import PairTask, Recipe
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.instruction_rows import count_by_reason
from fine_tune_assets.tables.record_classes import conform, iter_records
from fine_tune_assets.tables.training_rows import ExampleLength, TooLongExamples, count_too_long

LeftOutKind = Literal[
    "unreadable",
    "withheld",
    "undrafted",
    "dropped_drafts",
    "cut_drafts",
    "excluded",
    "too_long",
    "untested",
    "ungraded",
]
_TABLES = (
    "unreadable_reports",
    "withheld_reports",
    "unique_reports",
    "drafted_examples",
    "model_drafts",
    "example_lengths",
    "training_preflights",
    "instruction_sets",
    "judge_scores",
)
NONE_TOO_LONG = TooLongExamples(0, 0, 0)


@dataclass(frozen=True)
class LeftOut:
    """One kind of rows that were left out."""

    kind: LeftOutKind
    count: int
    text: str
    remedy: str
    """The setting or command that would keep them; code is between backticks, with at most one command."""


@dataclass(frozen=True)
class LeftOutCounts:
    unreadable: int = 0
    """Files and records."""
    withheld: int = 0
    reports: int = 0
    """Unique reports."""
    undrafted: int = 0
    """Unique reports that are part of no draft."""
    model_drafts: int = 0
    dropped_drafts: Mapping[str, int] = field(default_factory=dict)
    """Reason → outputs of a model that no reviewer sees."""
    cut_drafts: int = 0
    """Outputs of a model that end at `max_new_tokens` and were not dropped."""
    excluded: Mapping[str, int] = field(default_factory=dict)
    """Reason → approved examples that are not in the newest instruction set."""
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
    return [found for found in (*_of_reports(counts), *_of_drafts(counts), *_of_examples(counts)) if found.count]


def _of_reports(counts: LeftOutCounts) -> Iterator[LeftOut]:
    yield LeftOut(
        "unreadable",
        counts.unreadable,
        f"{_count(counts.unreadable, 'file or record', 'files or records')} could not be read.",
        "Repair and deliver them again; `fine-tune batch check FOLDER` lists the reasons.",
    )
    yield LeftOut(
        "withheld",
        counts.withheld,
        f"{_count(counts.withheld, 'report is', 'reports are')} withheld: residual PHI was found after scrubbing.",
        "`scrub.withhold_score` sets the score from which a report is withheld; a trained tagger (`scrub.entity_model`) finds "
        "more identifiers before that.",
    )
    yield LeftOut(
        "undrafted",
        counts.undrafted,
        f"{counts.undrafted:,} of {_count(counts.reports, 'unique report')} made no draft.",
        "Change `tasks` in the recipe; `fine-tune recipe check --reports FOLDER` says why a report makes no draft.",
    )


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
    excluded = sum(counts.excluded.values())
    yield LeftOut(
        "excluded",
        excluded,
        f"{_count(excluded, 'approved example is', 'approved examples are')} not in the instruction set: "
        f"{_list(counts.excluded)}.",
        _keep_excluded(counts.excluded),
    )
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


def _keep_excluded(reasons: Mapping[str, int]) -> str:
    remedies = {
        "near duplicate": "A higher `dedup.near_threshold` keeps near duplicates.",
        "semantic duplicate": "A higher `dedup.semantic_threshold` keeps semantic duplicates.",
        "no date": "Without `split.test_from`, examples without a date are kept.",
    }
    found = [remedy for sign, remedy in remedies.items() if any(sign in reason for reason in reasons)]
    return " ".join(found) or "No setting keeps them: they would count twice, or leak a test example."


def _list(reasons: Mapping[str, int]) -> str:
    """Most frequent first."""
    return ", ".join(
        f"{reason} ({number:,})" for reason, number in sorted(reasons.items(), key=lambda one: (-one[1], one))
    )


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def find_left_out(layout: Layout, recipe: Recipe | None) -> list[LeftOut]:
    """As `count_left_out`."""
    return list_left_out(count_left_out(layout, recipe))


def count_left_out(layout: Layout, recipe: Recipe | None) -> LeftOutCounts:
    """Tables that were never written count as empty. `recipe` names the pairs of reports that make one draft; None if it can't be
    loaded. Raises TableError, OSError or pa.ArrowInvalid for a table that can't be read."""
    drafts = _read(layout, "model_drafts", "dropped", "is_finished").to_pylist()
    scores = _read(layout, "judge_scores", "score", "example_id")
    test, untested = _count_untested(_read(layout, "instruction_sets", "split", "example_id"), scores)
    unique, drafted = (_read(layout, name, "report_id")["report_id"] for name in ("unique_reports", "drafted_examples"))
    is_drafted = bool((layout.tables / "drafted_examples").is_dir())
    return LeftOutCounts(
        unreadable=_read(layout, "unreadable_reports", "batch").num_rows,
        withheld=len(_read(layout, "withheld_reports", "report_id")["report_id"].unique()),
        reports=len(unique),
        undrafted=_count_unused(unique, drafted, recipe) if is_drafted else 0,
        model_drafts=len(drafts),
        dropped_drafts=Counter(row["dropped"] for row in drafts if row["dropped"] is not None),
        cut_drafts=sum(row["dropped"] is None and not row["is_finished"] for row in drafts),
        excluded=count_by_reason(read_newest_excluded(layout.instruction_sets)),
        too_long=count_too_long(
            iter_records(ExampleLength, _read(layout, "example_lengths", *ExampleLength.SCHEMA.names))
        ),
        excludes_too_long=_read(layout, "training_preflights", "too_long_policy")["too_long_policy"].to_pylist()
        == ["exclude"],
        test_examples=test,
        untested=untested,
        answers=scores.num_rows,
        ungraded=scores["score"].null_count,
    )


def _read(layout: Layout, name: str, *columns: str) -> pa.Table:
    """These columns of all files of a table."""
    wanted = pa.schema([TABLES[name].field(column) for column in columns])
    found = [wanted.empty_table()]
    for path in sorted((layout.tables / name).glob("[!.]*.parquet")):
        present = [column for column in columns if column in pq.read_schema(path).names]
        found.append(conform(pq.read_table(path, columns=present, partitioning=None), wanted))
    return pa.concat_tables(found)


def _count_unused(unique: pa.ChunkedArray, drafted: pa.ChunkedArray, recipe: Recipe | None) -> int:
    """Reports that are neither the report of a draft nor its partner, such as the dialogue of a note."""
    pairs = [task for task in recipe.tasks if isinstance(task, PairTask)] if recipe else []
    partners = [
        report_id.removesuffix(task.output_suffix) + task.input_suffix
        for task in pairs
        for report_id in drafted.to_pylist()
        if report_id.endswith(task.output_suffix)
    ]
    used = pa.concat_arrays([*drafted.chunks, pa.array(partners, pa.string())])
    return len(unique) - (pc.sum(pc.is_in(unique, value_set=used)).as_py() or 0)


def _count_untested(examples: pa.Table, scores: pa.Table) -> tuple[int, int]:
    """Test examples, and those of them without an answer. The grades of another set, and a set before its first grades, count as
    complete: then no setting cut the test."""
    test = set(examples.filter(pc.equal(examples["split"], "test"))["example_id"].to_pylist())
    answered = set(scores["example_id"].to_pylist())
    return len(test), len(test - answered) if answered and answered <= test else 0


class LeftOutCache:
    """Counts again only after a table has changed. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._cached: tuple[Any, list[LeftOut]] | None = None

    def latest(self, recipe: Recipe | None) -> list[LeftOut]:
        """Raises as `count_left_out`."""
        folders = (*(self._layout.tables / name for name in _TABLES), self._layout.instruction_sets)
        with self._lock:
            stamp = (recipe, *(_fingerprint_files(folder) for folder in folders))
            if self._cached is None or self._cached[0] != stamp:
                self._cached = (stamp, find_left_out(self._layout, recipe))
            return self._cached[1]


def _fingerprint_files(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the Parquet files in the folder itself."""
    found = sorted((path.name, path.stat()) for path in folder.glob("[!.]*.parquet"))
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)
