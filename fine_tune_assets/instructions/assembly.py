"""Builds an instruction set: approved examples in their frozen splits, with replayed and general data mixed into train.

Owns what is left out and why: what was tested on before, exact repetitions, and whatever another split already holds in the
same, nearly the same or other words. Does not know how examples were approved, nor where the set is kept.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.prompts.chat import conversation
from fine_tune_assets.instructions.leaks import LeakSearch, compared, find_leaks, losers, subject_of
from fine_tune_assets.instructions.mixture import BuildRules, as_general, choose, mix_counts
from fine_tune_assets.instructions.provenance import ReportFacts, provenance_row
from fine_tune_assets.instructions.splits import PRECEDENCE, SPLITS, EarlierTests, SplitRule, require_same_test
from fine_tune_assets.tables.approval import ApprovedExample
from fine_tune_assets.tables.instructions import GeneralExample, InstructionRow, ProvenanceRow
from fine_tune_assets.tables.records import check_table, rows_of, table_of

EXAMPLES = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("example_id", "split", "instruction", "input", "output")]
)
"""The rows of a set with instruction, input and output apart, for exports and comparisons that need them so."""
Row = dict[str, Any]


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
class Surroundings:
    """What is known beside the examples."""

    rule: SplitRule
    leaks: LeakSearch
    earlier: EarlierTests = field(default_factory=EarlierTests)
    reports: Mapping[str, ReportFacts] = field(default_factory=dict)
    replayable: Sequence[Row] = ()
    """Rows of earlier sets (`earlier_sets.read_replayable`) that experts approved, while their approval stands."""
    not_replayable: Sequence[Dropped] = ()
    """Rows of earlier sets that must not be taught again, each with its reason."""


@dataclass(frozen=True)
class InstructionSet:
    table: pa.Table
    """`instruction_sets`, sorted by split and example id."""
    examples: pa.Table
    """The same rows in the same order as instruction, input and output."""
    provenance: pa.Table
    """`instruction_provenance` of the same rows in the same order."""
    approved: int
    """Approved examples that came in: each is in the set or in `dropped`."""
    dropped: tuple[Dropped, ...]
    general_wanted: int
    """General examples that the recipe's fraction asks for; fewer are in the set when there were not more."""
    general_left_out: tuple[Dropped, ...]
    """General examples that could not be chosen, since a split or an evaluation set holds them."""
    licences: Mapping[str, str]
    """Source of the general examples in the set → its licence."""
    replay_wanted: int
    replayed: int
    replay_left_out: tuple[Dropped, ...]
    """Examples of earlier sets that the present approved ones lack and that could not be replayed."""


_TO_SPARE = 50


def build_instruction_set(
    approved: pa.Table, general: pa.Table, rules: BuildRules, around: Surroundings
) -> InstructionSet:
    """Build the set; the same for any order of rows.

    Raises TooFewExamplesError below `minimum_examples`, EmptySplitError if a split would be empty, and RecipeError if
    somebody whom an earlier set tested on would be trained on.
    """
    check_table(approved, ApprovedExample.SCHEMA)
    check_table(general, GeneralExample.SCHEMA)
    assigned = _assigned(rows_of(approved), around)
    require_same_test(around.earlier, {row["patient_key"] for row in assigned if row["split"] != "test"})
    rows, dropped = _without_repetition(*_allowed(assigned, around))
    replayable = _replayable(around, approved)
    candidates = _candidates(general, rows, replayable, rules)
    gone = _leaking(rows, [*replayable, *candidates], around.leaks)
    kept = _standing(rows, gone)
    dropped += _dropped(rows, gone)
    _require_enough(kept, around.rule.settings.minimum_examples)
    trained = sum(row["split"] == "train" for row in kept)
    replay_wanted = mix_counts(rules, trained, 0).replayed
    replayed = choose(_standing(replayable, gone), ("source", "task"), replay_wanted, rules.seed)
    general_wanted = mix_counts(rules, trained, len(replayed)).general
    mixed = _standing(candidates, gone)[:general_wanted]
    all_rows = sorted([*kept, *replayed, *mixed], key=lambda row: (row["split"], row["example_id"]))
    return InstructionSet(
        table=table_of((_as_conversation(row, rules) for row in all_rows), InstructionRow.SCHEMA),
        examples=table_of(({name: row[name] for name in EXAMPLES.names} for row in all_rows), EXAMPLES),
        provenance=table_of((provenance_row(row, around.reports) for row in all_rows), ProvenanceRow.SCHEMA),
        approved=approved.num_rows,
        dropped=_sorted(dropped),
        general_wanted=general_wanted,
        general_left_out=_dropped(candidates, gone),
        licences={row["source"]: row["licence"] for row in mixed},
        replay_wanted=replay_wanted,
        replayed=len(replayed),
        replay_left_out=_sorted([*around.not_replayable, *_dropped(replayable, gone)]),
    )


def _candidates(general: pa.Table, rows: Sequence[Row], replayable: Sequence[Row], rules: BuildRules) -> list[Row]:
    """General examples in the order in which they are taken, with some to spare for those that leak: to look for the leaks of
    tens of thousands that nobody wants would take most of the time."""
    trained = sum(row["split"] == "train" for row in rows)
    most = mix_counts(rules, trained, len(replayable)).general
    count = 2 * most + _TO_SPARE if most else 0
    return choose((as_general(row) for row in rows_of(general)), ("source", "kind"), count, rules.seed)


def dropped_by_reason(dropped: Iterable[Dropped]) -> dict[str, int]:
    """Kind of reason → examples: a reason without the ids in it."""
    return dict(sorted(Counter(_kind_of(d.reason) for d in dropped).items()))


def _kind_of(reason: str) -> str:
    kind, is_leak, _ = reason.partition(" duplicate of ")
    return f"{kind} duplicate" if is_leak else re.split(r",? as | of set ", reason)[0]


def _assigned(rows: Iterable[Row], around: Surroundings) -> list[Row]:
    """Rows with their split, the splits that keep an input first."""
    assigned = [{**row, "split": around.rule.split_of(row["patient_key"]), "is_general": False} for row in rows]
    return sorted(assigned, key=lambda row: (PRECEDENCE.index(row["split"]), row["example_id"]))


def _allowed(rows: Iterable[Row], around: Surroundings) -> tuple[list[Row], list[Dropped]]:
    """Without what may not be learned now: an old exam, and under a split by time a report that nobody can date."""
    kept: list[Row] = []
    dropped: list[Dropped] = []
    for row in rows:
        report = around.reports.get(row["report_id"])
        exam = around.earlier.examples.get(row["fingerprint"])
        if row["split"] == "test":
            kept.append(row)
        elif exam is not None:
            dropped.append(Dropped(row["example_id"], f"it is in the test split of set {exam}"))
        elif around.rule.by_time and (report is None or report.written_on is None):
            dropped.append(Dropped(row["example_id"], "its report has no date, and split.test_from asks for one"))
        else:
            kept.append(row)
    return kept, dropped


def _without_repetition(rows: Iterable[Row], dropped: list[Dropped]) -> tuple[list[Row], list[Dropped]]:
    kept: list[Row] = []
    dropped = list(dropped)
    first_with_content: dict[str, Row] = {}
    first_with_subject: dict[str, Row] = {}
    for row in rows:
        same = first_with_content.setdefault(row["fingerprint"], row)
        holder = first_with_subject.setdefault(" ".join(subject_of(row).casefold().split()), row)
        if holder["split"] != row["split"]:
            reason = f"its input is in the {holder['split']} split for another patient, as {holder['example_id']}"
            dropped.append(Dropped(row["example_id"], reason))
        elif same is not row:
            dropped.append(Dropped(row["example_id"], f"exactly the same example as {same['example_id']}"))
        else:
            kept.append(row)
    return kept, dropped


def _replayable(around: Surroundings, approved: pa.Table) -> list[Row]:
    """Earlier examples that the present set could not have, of patients whom it does not test or validate on."""
    present = set(approved.column("fingerprint").to_pylist())
    found: dict[str, Row] = {}
    for row in sorted(around.replayable, key=lambda row: row["example_id"]):
        is_free = row["fingerprint"] not in present and row["fingerprint"] not in around.earlier.examples
        if is_free and around.rule.split_of(row["patient_key"]) == "train":
            found.setdefault(row["fingerprint"], {**row, "split": "train", "is_general": False})
    return list(found.values())


def _leaking(rows: Sequence[Row], candidates: Sequence[Row], search: LeakSearch) -> dict[str, str]:
    """Id of each row that another split or an evaluation set holds as well → the reason."""
    everything = [compared(row) for row in (*rows, *candidates)]
    leaks = find_leaks(everything, search)
    return {row_id: leak.reason for row_id, leak in losers(leaks, [row.row_id for row in everything]).items()}


def _standing(rows: Iterable[Row], gone: Mapping[str, str]) -> list[Row]:
    return [row for row in rows if row["example_id"] not in gone]


def _dropped(rows: Iterable[Row], gone: Mapping[str, str]) -> tuple[Dropped, ...]:
    return tuple(Dropped(row["example_id"], gone[row["example_id"]]) for row in rows if row["example_id"] in gone)


def _sorted(dropped: Iterable[Dropped]) -> tuple[Dropped, ...]:
    return tuple(sorted(dropped, key=lambda d: (d.example_id, d.reason)))


def _require_enough(kept: Sequence[Row], minimum: int) -> None:
    if len(kept) < minimum:
        raise TooFewExamplesError(
            f"There are {len(kept)} distinct approved examples and the recipe asks for {minimum}. "
            "Review more drafts: `fine-tune review list`."
        )
    filled = {row["split"] for row in kept}
    empty = [name for name in SPLITS if name not in filled]
    if empty:
        raise EmptySplitError(
            f"The {' and the '.join(empty)} split would be empty with {len(kept)} approved examples. "
            "Approve examples of more patients, or raise the split's fraction in the recipe."
        )


def _as_conversation(row: Mapping[str, Any], rules: BuildRules) -> Row:
    return {
        **{name: row[name] for name in InstructionRow.SCHEMA.names if name in row},
        "line": rules.line,
        "messages": conversation(rules.system_prompt, row["instruction"], row["input"], row["output"]),
    }
