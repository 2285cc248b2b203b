"""Builds an instruction set: approved examples in their frozen splits, with replayed and general data mixed into train.

Owns what is left out and why: what was tested on before, exact repetitions, and whatever another split already holds in the
same, nearly the same or other words. Does not know how examples were approved, nor where the set is kept.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.prompts.chat import conversation
from fine_tune_assets.instructions.leaks import LeakSearch, compared, find_leaks, losers, subject_of
from fine_tune_assets.instructions.mixture import AnyExample, BuildRules, choose, mix_counts
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.set_examples import ExampleText, SetExample, approved_example, general_example
from fine_tune_assets.instructions.splits import PRECEDENCE, SPLITS, EarlierTests, SplitRule, require_same_test
from fine_tune_assets.tables.approval import ApprovedExample
from fine_tune_assets.tables.columns_in_common import Message
from fine_tune_assets.tables.instructions import GeneralExample, InstructionRow, ProvenanceRow
from fine_tune_assets.tables.records import check_table, records_of, table_from


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
    replayable: Sequence[SetExample] = ()
    """Examples of earlier sets (`earlier_sets.read_replayable`) that experts approved, while their approval stands."""
    not_replayable: Sequence[Dropped] = ()
    """Examples of earlier sets that must not be taught again, each with its reason."""


@dataclass(frozen=True)
class InstructionSet:
    table: pa.Table
    """`instruction_sets`, sorted by split and example id."""
    examples: pa.Table
    """The same rows in the same order as instruction, input and output: `ExampleText`."""
    provenance: pa.Table
    """`ProvenanceRow` of the same rows in the same order."""
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
    assigned = _assigned(records_of(ApprovedExample, approved), around)
    require_same_test(around.earlier, {example.patient_key for example in assigned if example.split != "test"})
    examples, dropped = _without_repetition(*_allowed(assigned, around))
    replayable = _replayable(around, approved)
    candidates = _candidates(general, examples, replayable, rules)
    gone = _leaking([*examples, *replayable, *map(general_example, candidates)], around.leaks)
    kept = _standing(examples, gone)
    dropped += _dropped(examples, gone)
    _require_enough(kept, around.rule.settings.minimum_examples)
    trained = _count_trained(kept)
    replay_wanted = mix_counts(rules, trained, 0).replayed
    replayed = choose(_standing(replayable, gone), lambda one: (one.source, one.task), replay_wanted, rules.seed)
    general_wanted = mix_counts(rules, trained, len(replayed)).general
    mixed = _standing(candidates, gone)[:general_wanted]
    all_examples = sorted(
        [*kept, *replayed, *map(general_example, mixed)], key=lambda example: (example.split, example.example_id)
    )
    return InstructionSet(
        table=table_from(InstructionRow, (_as_conversation(example, rules) for example in all_examples)),
        examples=table_from(ExampleText, all_examples),
        provenance=table_from(ProvenanceRow, all_examples),
        approved=approved.num_rows,
        dropped=_sorted(dropped),
        general_wanted=general_wanted,
        general_left_out=_dropped(candidates, gone),
        licences={example.source: example.licence for example in mixed},
        replay_wanted=replay_wanted,
        replayed=len(replayed),
        replay_left_out=_sorted([*around.not_replayable, *_dropped(replayable, gone)]),
    )


def _candidates(
    general: pa.Table, examples: Sequence[SetExample], replayable: Sequence[SetExample], rules: BuildRules
) -> list[GeneralExample]:
    """General examples in the order in which they are taken, with some to spare for those that leak: to look for the leaks of
    tens of thousands that nobody wants would take most of the time."""
    most = mix_counts(rules, _count_trained(examples), len(replayable)).general
    count = 2 * most + _TO_SPARE if most else 0
    return choose(records_of(GeneralExample, general), lambda one: (one.source, one.kind), count, rules.seed)


def _count_trained(examples: Iterable[SetExample]) -> int:
    return sum(example.split == "train" for example in examples)


def dropped_by_reason(dropped: Iterable[Dropped]) -> dict[str, int]:
    """Kind of reason → examples: a reason without the ids in it."""
    return dict(sorted(Counter(_kind_of(d.reason) for d in dropped).items()))


def _kind_of(reason: str) -> str:
    kind, is_leak, _ = reason.partition(" duplicate of ")
    return f"{kind} duplicate" if is_leak else re.split(r",? as | of set ", reason)[0]


def _assigned(approved: Iterable[ApprovedExample], around: Surroundings) -> list[SetExample]:
    """Examples with their split, the splits that keep an input first."""
    order: Sequence[str] = PRECEDENCE
    assigned = [approved_example(one, around.rule.split_of(one.patient_key), around.reports) for one in approved]
    return sorted(assigned, key=lambda example: (order.index(example.split), example.example_id))


def _allowed(examples: Iterable[SetExample], around: Surroundings) -> tuple[list[SetExample], list[Dropped]]:
    """Without what may not be learned now: an old exam, and under a split by time a report that nobody can date."""
    kept: list[SetExample] = []
    dropped: list[Dropped] = []
    for example in examples:
        report = around.reports.get(example.report_id or "")
        exam = around.earlier.examples.get(example.fingerprint)
        if example.split == "test":
            kept.append(example)
        elif exam is not None:
            dropped.append(Dropped(example.example_id, f"it is in the test split of set {exam}"))
        elif around.rule.by_time and (report is None or report.written_on is None):
            dropped.append(Dropped(example.example_id, "its report has no date, and split.test_from asks for one"))
        else:
            kept.append(example)
    return kept, dropped


def _without_repetition(
    examples: Iterable[SetExample], dropped: list[Dropped]
) -> tuple[list[SetExample], list[Dropped]]:
    kept: list[SetExample] = []
    dropped = list(dropped)
    first_with_content: dict[str, SetExample] = {}
    first_with_subject: dict[str, SetExample] = {}
    for example in examples:
        same = first_with_content.setdefault(example.fingerprint, example)
        holder = first_with_subject.setdefault(" ".join(subject_of(example).casefold().split()), example)
        if holder.split != example.split:
            reason = f"its input is in the {holder.split} split for another patient, as {holder.example_id}"
            dropped.append(Dropped(example.example_id, reason))
        elif same is not example:
            dropped.append(Dropped(example.example_id, f"exactly the same example as {same.example_id}"))
        else:
            kept.append(example)
    return kept, dropped


def _replayable(around: Surroundings, approved: pa.Table) -> list[SetExample]:
    """Earlier examples that the present set could not have, of patients whom it does not test or validate on."""
    present = set(approved.column("fingerprint").to_pylist())
    found: dict[str, SetExample] = {}
    for example in sorted(around.replayable, key=lambda example: example.example_id):
        is_free = example.fingerprint not in present and example.fingerprint not in around.earlier.examples
        if is_free and example.patient_key is not None and around.rule.split_of(example.patient_key) == "train":
            found.setdefault(example.fingerprint, example)
    return list(found.values())


def _leaking(examples: Iterable[SetExample], search: LeakSearch) -> dict[str, str]:
    """Id of each example that another split or an evaluation set holds as well → the reason."""
    everything = [compared(example) for example in examples]
    leaks = find_leaks(everything, search)
    return {row_id: leak.reason for row_id, leak in losers(leaks, [row.row_id for row in everything]).items()}


def _standing(examples: Iterable[AnyExample], gone: Mapping[str, str]) -> list[AnyExample]:
    return [example for example in examples if example.example_id not in gone]


def _dropped(examples: Iterable[SetExample | GeneralExample], gone: Mapping[str, str]) -> tuple[Dropped, ...]:
    return tuple(Dropped(one.example_id, gone[one.example_id]) for one in examples if one.example_id in gone)


def _sorted(dropped: Iterable[Dropped]) -> tuple[Dropped, ...]:
    return tuple(sorted(dropped, key=lambda d: (d.example_id, d.reason)))


def _require_enough(kept: Sequence[SetExample], minimum: int) -> None:
    if len(kept) < minimum:
        raise TooFewExamplesError(
            f"There are {len(kept)} distinct approved examples and the recipe asks for {minimum}. "
            "Review more drafts: `fine-tune review list`."
        )
    filled = {example.split for example in kept}
    empty = [name for name in SPLITS if name not in filled]
    if empty:
        raise EmptySplitError(
            f"The {' and the '.join(empty)} split would be empty with {len(kept)} approved examples. "
            "Approve examples of more patients, or raise the split's fraction in the recipe."
        )


def _as_conversation(example: SetExample, rules: BuildRules) -> InstructionRow:
    messages = conversation(rules.system_prompt, example.instruction, example.input, example.output)
    return InstructionRow(
        example_id=example.example_id,
        split=example.split,
        line=rules.line,
        source=example.source,
        task=example.task,
        patient_key=example.patient_key,
        is_general=example.is_general,
        messages=tuple(map(Message.of, messages)),
        fingerprint=example.fingerprint,
    )
