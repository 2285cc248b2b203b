"""Builds an instruction set: approved examples in their splits, with replayed and general data mixed into train.

Drops examples of earlier test splits, exact repetitions, and examples that repeat another split exactly, nearly or by meaning.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.instructions.leakage import (
    GENERAL,
    LeakSearch,
    compared_rows,
    find_leaks,
    question_text,
    resolve_leaks,
)
from fine_tune_assets.instructions.mixture import BuildRules, count_mixed_in, sample_by_kind
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.set_examples import ExampleText, SetExample, approved_example, general_example
from fine_tune_assets.instructions.splits import PRECEDENCE, SPLITS, EarlierTests, SplitRule, require_stable_test_split
from fine_tune_assets.recipes.schema import BUNDLED, PREVIOUS_SET
from fine_tune_assets.tables.approval_rows import ApprovedExample
from fine_tune_assets.tables.common_columns import Message
from fine_tune_assets.tables.instruction_rows import GeneralExample, InstructionRow, ProvenanceRow
from fine_tune_assets.tables.record_classes import check_table, iter_records, table_from_records

AnyExample = TypeVar("AnyExample", GeneralExample, SetExample)


class TooFewExamplesError(GateClosedError):
    """Fewer approved examples than the recipe requires."""


class UnknownMixSourceError(GateClosedError):
    """The mix names a source without rows."""


class EmptySplitError(GateClosedError):
    """A split has no examples."""


@dataclass(frozen=True)
class DroppedExample:
    """An example that is not in the set. The reason names ids, never text."""

    example_id: str
    reason: str


@dataclass(frozen=True)
class BuildContext:
    """Inputs of a build besides the examples."""

    split_rule: SplitRule
    leak_search: LeakSearch
    earlier_tests: EarlierTests = field(default_factory=EarlierTests)
    reports: Mapping[str, ReportFacts] = field(default_factory=dict)
    replayable: Sequence[SetExample] = ()
    """Examples of earlier sets (`earlier_sets.read_replayable`) whose approval is still valid."""
    not_replayable: Sequence[DroppedExample] = ()
    """Examples of earlier sets that must not be trained on again."""


@dataclass(frozen=True)
class MixedSource:
    """What a source of the mix gave."""

    wanted: int
    """Examples by the recipe's weight."""
    given: int
    """Examples in the set: fewer than wanted if there are not enough."""
    dropped: tuple[DroppedExample, ...]
    """Examples that were drawn and left out, such as copies of a test example."""


@dataclass(frozen=True)
class InstructionSet:
    table: pa.Table
    """`instruction_sets`, sorted by split and example id."""
    examples: pa.Table
    """`ExampleText` of the same rows in the same order."""
    provenance: pa.Table
    """`ProvenanceRow` of the same rows in the same order."""
    approved: int
    """Number of approved input examples; each is in the set or in `dropped`."""
    dropped: tuple[DroppedExample, ...]
    mixed: Mapping[str, MixedSource]
    """Each source of the recipe's mix."""
    licences: Mapping[str, str]
    """Source of the general examples in the set → its licence."""

    @property
    def replayed(self) -> int:
        return self.mixed[PREVIOUS_SET].given if PREVIOUS_SET in self.mixed else 0


_SPARE_EXAMPLES = 50
_KINDS = ("source", "kind")


def build_instruction_set(
    approved: pa.Table, general: pa.Table, rules: BuildRules, context: BuildContext
) -> InstructionSet:
    """Build the set; the result does not depend on the order of rows.

    Raises TooFewExamplesError below `minimum_examples`, EmptySplitError if a split would be empty, UnknownMixSourceError if a
    source of the mix has no rows, and RecipeError if a subject of an earlier test split would be trained on.
    """
    check_table(approved, ApprovedExample.SCHEMA)
    check_table(general, GeneralExample.SCHEMA)
    assigned = _assign_splits(iter_records(ApprovedExample, approved), context)
    require_stable_test_split(
        context.earlier_tests, {example.subject_key for example in assigned if example.split != "test"}
    )
    examples, dropped = _drop_repeated(*_drop_untrainable(assigned, context))
    replayable = _select_replayable(context, approved)
    candidates = _draw_general(general, examples, replayable, rules)
    general_examples = [general_example(one) for of_source in candidates.values() for one in of_source]
    leaked = _leak_reasons([*examples, *replayable, *general_examples], context.leak_search)
    kept = _not_dropped(examples, leaked)
    dropped += _dropped(examples, leaked)
    _require_enough(kept, context.split_rule.settings.minimum_examples)
    trained = _count_trained(kept)
    replay_target = count_mixed_in(rules.mix, trained, 0).get(PREVIOUS_SET, 0)
    replayed = _draw_replayed(_not_dropped(replayable, leaked), replay_target, rules.seed)
    wanted = count_mixed_in(rules.mix, trained, len(replayed))
    mixed, repeated = _take_general(candidates, leaked, wanted)
    left_out = leaked | repeated
    taken = [one for of_source in mixed.values() for one in of_source]
    replay = MixedSource(
        replay_target, len(replayed), _sort_dropped([*context.not_replayable, *_dropped(replayable, leaked)])
    )
    all_examples = sorted(
        [*kept, *replayed, *map(general_example, taken)], key=lambda example: (example.split, example.example_id)
    )
    return InstructionSet(
        table=table_from_records(InstructionRow, (_instruction_row(example, rules) for example in all_examples)),
        examples=table_from_records(ExampleText, all_examples),
        provenance=table_from_records(ProvenanceRow, all_examples),
        approved=approved.num_rows,
        dropped=_sort_dropped(dropped),
        mixed={
            **{
                name: MixedSource(wanted[name], len(mixed[name]), _dropped(candidates[name], left_out))
                for name in mixed
            },
            **({PREVIOUS_SET: replay} if PREVIOUS_SET in rules.mix else {}),
        },
        licences={example.source: example.licence for example in taken},
    )


def _draw_general(
    general: pa.Table, examples: Sequence[SetExample], replayable: Sequence[SetExample], rules: BuildRules
) -> dict[str, list[GeneralExample]]:
    """Examples of each general source in sampling order, with spares for leaks. Searching all general data for leaks would
    dominate the run time. Raises UnknownMixSourceError."""
    _require_known(rules.general_sources, general)
    most = count_mixed_in(rules.mix, _count_trained(examples), len(replayable))
    keys = general.select(["mix_source", "example_id", "fingerprint", *_KINDS])
    chosen: dict[str, list[int]] = {}
    for name in rules.general_sources:
        mask = pc.equal(keys["mix_source"], name)
        rows = np.flatnonzero(mask.to_numpy())
        count = 2 * most[name] + _SPARE_EXAMPLES if most[name] else 0
        chosen[name] = [int(rows[at]) for at in sample_by_kind(keys.filter(mask), _KINDS, count, rules.seed)]
    every = sorted(row for of_source in chosen.values() for row in of_source)
    # A filter, since `take` would copy every text first.
    drawn = general.filter(pc.is_in(pa.array(np.arange(general.num_rows)), value_set=pa.array(every, pa.int64())))
    by_row = dict(zip(every, iter_records(GeneralExample, drawn), strict=True))
    return {name: [by_row[row] for row in of_source] for name, of_source in chosen.items()}


def _require_known(sources: Iterable[str], general: pa.Table) -> None:
    known = {BUNDLED, *general["mix_source"].unique().to_pylist()}
    unknown = [name for name in sources if name not in known]
    if unknown:
        raise UnknownMixSourceError(
            f"general_examples has no rows of {', '.join(unknown)}, which the recipe's mix names. Known: "
            f"{', '.join(sorted({*known, PREVIOUS_SET}))}. Import it with `fine-tune datasets import`, or correct the recipe."
        )


def _take_general(
    candidates: Mapping[str, Sequence[GeneralExample]], leaked: Mapping[str, str], wanted: Mapping[str, int]
) -> tuple[dict[str, list[GeneralExample]], dict[str, str]]:
    """Examples of each source for the set, and id → reason of those that another source gave."""
    taken: dict[str, list[GeneralExample]] = {}
    given_by: dict[str, str] = {}
    repeated: dict[str, str] = {}
    for name, drawn in candidates.items():
        fitting = _not_dropped(drawn, leaked)
        again = {
            one.example_id: f"exactly the same example as in {given_by[one.fingerprint]}"
            for one in fitting
            if one.fingerprint in given_by
        }
        taken[name] = _not_dropped(fitting, again)[: wanted[name]]
        given_by |= {one.fingerprint: name for one in taken[name]}
        repeated |= again
    return taken, repeated


def _draw_replayed(examples: Sequence[SetExample], count: int, seed: int) -> list[SetExample]:
    names = ("example_id", "fingerprint", "source", "task")
    rows = pa.table({name: pa.array([getattr(one, name) for one in examples], pa.string()) for name in names})
    return [examples[row] for row in sample_by_kind(rows, ("source", "task"), count, seed)]


def _count_trained(examples: Iterable[SetExample]) -> int:
    return sum(example.split == "train" for example in examples)


def _assign_splits(approved: Iterable[ApprovedExample], context: BuildContext) -> list[SetExample]:
    """Assign splits, and sort by the precedence with which splits keep an input."""
    order: Sequence[str] = PRECEDENCE
    assigned = [approved_example(one, context.split_rule.assign(one.subject_key), context.reports) for one in approved]
    return sorted(assigned, key=lambda example: (order.index(example.split), example.example_id))


def _drop_untrainable(
    examples: Iterable[SetExample], context: BuildContext
) -> tuple[list[SetExample], list[DroppedExample]]:
    """Drop examples of earlier test splits and, for a time-based split, of reports without a date."""
    kept: list[SetExample] = []
    dropped: list[DroppedExample] = []
    for example in examples:
        report = context.reports.get(example.report_id or "")
        tested_by = context.earlier_tests.examples.get(example.fingerprint)
        if example.split == "test":
            kept.append(example)
        elif tested_by is not None:
            dropped.append(DroppedExample(example.example_id, f"it is in the test split of set {tested_by}"))
        elif context.split_rule.is_time_based and (report is None or report.written_on is None):
            dropped.append(DroppedExample(example.example_id, "its report has no date, which split.test_from requires"))
        else:
            kept.append(example)
    return kept, dropped


def _drop_repeated(
    examples: Iterable[SetExample], dropped: list[DroppedExample]
) -> tuple[list[SetExample], list[DroppedExample]]:
    kept: list[SetExample] = []
    dropped = list(dropped)
    first_with_content: dict[str, SetExample] = {}
    first_with_question: dict[str, SetExample] = {}
    for example in examples:
        same = first_with_content.setdefault(example.fingerprint, example)
        holder = first_with_question.setdefault(" ".join(question_text(example).casefold().split()), example)
        if holder.split != example.split:
            reason = f"its input is in the {holder.split} split for another subject, as {holder.example_id}"
            dropped.append(DroppedExample(example.example_id, reason))
        elif same is not example:
            dropped.append(DroppedExample(example.example_id, f"exactly the same example as {same.example_id}"))
        else:
            kept.append(example)
    return kept, dropped


def _select_replayable(context: BuildContext, approved: pa.Table) -> list[SetExample]:
    """Examples of earlier sets that are not approved input now, of subjects in the train split."""
    present = set(approved.column("fingerprint").to_pylist())
    found: dict[str, SetExample] = {}
    for example in sorted(context.replayable, key=lambda example: example.example_id):
        is_free = example.fingerprint not in present and example.fingerprint not in context.earlier_tests.examples
        if is_free and example.subject_key is not None and context.split_rule.assign(example.subject_key) == "train":
            found.setdefault(example.fingerprint, example)
    return list(found.values())


def _leak_reasons(examples: Iterable[SetExample], search: LeakSearch) -> dict[str, str]:
    """Id of each example that must be dropped, because another split or an evaluation set contains it → the reason.

    General data is compared with every split, train too: a repeated example would count twice.
    """
    everything = [
        row for example in examples for row in compared_rows(example, GENERAL if example.is_general else example.split)
    ]
    leaks = find_leaks(everything, search)
    return {row_id: leak.reason for row_id, leak in resolve_leaks(leaks, [row.row_id for row in everything]).items()}


def _not_dropped(examples: Iterable[AnyExample], reasons: Mapping[str, str]) -> list[AnyExample]:
    return [example for example in examples if example.example_id not in reasons]


def _dropped(examples: Iterable[SetExample | GeneralExample], reasons: Mapping[str, str]) -> tuple[DroppedExample, ...]:
    return tuple(
        DroppedExample(one.example_id, reasons[one.example_id]) for one in examples if one.example_id in reasons
    )


def _sort_dropped(dropped: Iterable[DroppedExample]) -> tuple[DroppedExample, ...]:
    return tuple(sorted(dropped, key=lambda d: (d.example_id, d.reason)))


def _require_enough(kept: Sequence[SetExample], minimum: int) -> None:
    if len(kept) < minimum:
        raise TooFewExamplesError(
            f"There are {len(kept)} distinct approved examples; the recipe requires {minimum}. "
            "Review more drafts: `fine-tune review list`."
        )
    filled = {example.split for example in kept}
    empty = [name for name in SPLITS if name not in filled]
    if empty:
        raise EmptySplitError(
            f"The {' and the '.join(empty)} split would be empty with {len(kept)} approved examples. "
            "Approve examples of more subjects, or raise the split's fraction in the recipe."
        )


def _instruction_row(example: SetExample, rules: BuildRules) -> InstructionRow:
    messages = build_conversation(
        rules.system_prompt, example.instruction, example.input, example.output, example.history_messages
    )
    return InstructionRow(
        example_id=example.example_id,
        split=example.split,
        line=rules.product_line,
        source=example.source,
        task=example.task,
        subject_key=example.subject_key,
        is_general=example.is_general,
        messages=tuple(map(Message.from_row, messages)),
        fingerprint=example.fingerprint,
    )
