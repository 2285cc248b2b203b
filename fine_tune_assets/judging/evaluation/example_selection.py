"""Selects the test examples that candidate and incumbent are asked.

Each task gets an equal share, so that a frequent task hides no other one; the tasks that must be tested come first. Candidates
against one incumbent get the same examples. With each new incumbent, half of them are replaced, because a model that was chosen
by an example looks better on it than it is.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.judging.judges.grades import EvaluationExample
from fine_tune_assets.tables.record_classes import iter_records


@dataclass(frozen=True)
class AskedExamples:
    """What earlier verdicts asked."""

    of_incumbent: Collection[str] = ()
    """Ids of the examples asked against the present incumbent; empty before its first candidate."""
    before_incumbent: Collection[str] = ()
    """Ids of the examples asked against the incumbent before it."""
    uses: Mapping[str, int] = field(default_factory=dict)
    """Example id → number of earlier verdicts that it decided."""


@dataclass(frozen=True)
class RequiredTasks:
    """Tasks that get `minimum` examples each, if they have as many, before any other task gets one."""

    names: Collection[str] = ()
    minimum: int = 0


def select_test_examples(
    instruction_set: pa.Table,
    limit: int,
    earlier: AskedExamples | None = None,
    tested: RequiredTasks | None = None,
) -> list[EvaluationExample]:
    """At most `limit` examples of the test split, in the order of a hash of their ids, so that the choice is stable."""
    earlier, first = earlier or AskedExamples(), tested or RequiredTasks()
    by_task = defaultdict[str, list[EvaluationExample]](list)
    test_split = instruction_set.filter(pc.equal(instruction_set.column("split"), "test"))
    for row in iter_records(EvaluationExample, test_split):
        by_task[row.task].append(row)
    shares = _share({task: len(rows) for task, rows in by_task.items()}, limit, first)
    chosen = [row for task, rows in by_task.items() for row in _select_of_task(rows, shares[task], earlier)]
    return sorted(chosen, key=_order)


def _order(row: EvaluationExample) -> tuple[str, str]:
    return fingerprint_text(row.example_id), row.example_id


def _share(sizes: Mapping[str, int], limit: int, first: RequiredTasks) -> dict[str, int]:
    reserved = _equal_shares({task: min(sizes[task], first.minimum) for task in first.names if task in sizes}, limit)
    left = {task: size - reserved.get(task, 0) for task, size in sizes.items()}
    shares = _equal_shares(left, limit - sum(reserved.values()))
    return {task: share + reserved.get(task, 0) for task, share in shares.items()}


def _equal_shares(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    """Task → number of its examples: equal, as far as each task has as many."""
    shares, left = dict[str, int](), limit
    for place, task in enumerate(sorted(sizes, key=lambda task: (sizes[task], task))):
        shares[task] = min(sizes[task], left // (len(sizes) - place))
        left -= shares[task]
    return shares


def _select_of_task(rows: Sequence[EvaluationExample], share: int, earlier: AskedExamples) -> list[EvaluationExample]:
    ordered = sorted(rows, key=lambda row: (earlier.uses.get(row.example_id, 0), *_order(row)))
    if earlier.of_incumbent or not earlier.before_incumbent:
        same = set(earlier.of_incumbent)
        return sorted(ordered, key=lambda row: row.example_id not in same)[:share]
    old = set(earlier.before_incumbent)
    asked, fresh = ([row for row in ordered if (row.example_id in old) is is_old] for is_old in (True, False))
    new = fresh[: max((share + 1) // 2, share - len(asked))]
    return [*new, *asked[: share - len(new)]]
