"""What a report that was dropped as a duplicate still has to say about drafts.

Owns two things: that a draft is in doubt when the report which was dropped for its own would have made another output, and that
a dropped dialogue still is the input of its note. Compared with a tag in each identifier's place, since invented names and
numbers differ from patient to patient. Does not know how duplicates are found, nor where reports lie.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.contradictions import NAMED
from fine_tune_assets.approval.flags import flag
from fine_tune_assets.approval.task_kinds import Drafted, ReportText, drafts_by_tasks, other_half
from fine_tune_assets.claims.saying import are_near_copies_apart, is_contrary, normal, said_by, states_otherwise
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.recipes.schema import PairTask, Task
from fine_tune_assets.tables.dedup import DuplicateReport
from fine_tune_assets.tables.records import records_of


class ScrubbedText(ReportText):
    """What is read of a dropped report."""

    tagged_text: str
    fingerprint: str


ReadScrubbed = Callable[[Collection[str]], Sequence[ScrubbedText]]
"""Report ids → their reports in `scrubbed_reports`; fewer where one is not there any more."""
_AT_ONCE = 512
"""Duplicates whose texts are held in memory at a time."""
DraftKey = tuple[str, str]
"""Report id and task: what tells a report's drafts apart."""


@dataclass(frozen=True)
class DroppedReports:
    duplicates: pa.Table
    """`duplicate_reports`."""
    read: ReadScrubbed


def contradiction_with(fingerprint: str) -> str:
    """The flag of a draft that a dropped report contradicts. Its number and not its id, which can hold a patient's name."""
    return flag("contradiction", f"report {short(fingerprint)} says something else; it was dropped as nearly the same")


def halves_of_pairs(dropped: DroppedReports, tasks: Sequence[Task]) -> dict[str, ScrubbedText]:
    """Id of a dropped report → the report, of those that a task by pairs could need."""
    ids = [i for i in dropped.duplicates["dropped_id"].to_pylist() if any(True for _ in _halves(i, tasks))]
    fingerprints = _by_dropped(dropped.duplicates, "fingerprint")
    reports = dropped.read(ids) if ids else ()
    return {r.report_id: r for r in reports if fingerprints.get(r.report_id) in (None, r.fingerprint)}


def flags_by_dropped(dropped: DroppedReports, tasks: Sequence[Task]) -> dict[DraftKey, list[str]]:
    """Which drafts a dropped report contradicts, with a flag for each such report; exact copies say the same."""
    flags: dict[DraftKey, list[str]] = defaultdict(list)
    stands_for = _by_dropped(dropped.duplicates, "kept_id")
    others = dropped.duplicates.filter(pc.not_equal(dropped.duplicates["kind"], "exact"))
    for at in range(0, others.num_rows, _AT_ONCE):
        duplicates = list(records_of(DuplicateReport, others.slice(at, _AT_ONCE)))
        for key, found in _contradicted(duplicates, dropped.read, tasks, stands_for):
            if len(flags[key]) < NAMED:
                flags[key].append(found)
    return dict(flags)


def _contradicted(
    duplicates: Sequence[DuplicateReport], read: ReadScrubbed, tasks: Sequence[Task], stands_for: Mapping[str, str]
) -> Iterator[tuple[DraftKey, str]]:
    reports = {report.report_id: report for report in read(_needed(duplicates, tasks))}
    tagged = [replace(report, text=report.tagged_text) for report in reports.values()]
    drafts = {(draft.report_id, draft.task): draft for draft in drafts_by_tasks(lambda: tagged, tasks, [])}
    for pair in duplicates:
        own = reports.get(pair.dropped_id)
        # Scrubbed anew since: this stage runs again when the duplicates were looked for in what it says now.
        if own is None or pair.fingerprint not in (None, own.fingerprint):
            continue
        for task in tasks:
            lost, kept = (drafts.get((side, task.name)) for side in (pair.dropped_id, pair.kept_id))
            if (
                lost is not None
                and kept is not None
                and _has_like_input(lost, kept, task, stands_for)
                and _disagree(lost.output, kept.output, pair.kind)
            ):
                yield (kept.report_id, task.name), contradiction_with(own.fingerprint)


def _disagree(lost: str, kept: str, kind: str) -> bool:
    """What was dropped for its meaning has other words by nature; its facts are compared."""
    if normal(lost) == normal(kept):  # most near copies; reading what they say costs a thousand times as much
        return False
    said = [said_by(output) for output in (lost, kept)]
    return states_otherwise(*said) if kind == "semantic" else is_contrary(*said) or are_near_copies_apart(lost, kept)


def _has_like_input(lost: Drafted, kept: Drafted, task: Task, stands_for: Mapping[str, str]) -> bool:
    """Sections stand in the two reports, which are nearly the same; a pair's input is a report of its own."""
    if not isinstance(task, PairTask):
        return True
    one, other = (str(other_half(draft.report_id, task)) for draft in (lost, kept))
    return stands_for.get(one, one) == stands_for.get(other, other)


def _needed(duplicates: Sequence[DuplicateReport], tasks: Sequence[Task]) -> set[str]:
    """Dropped and kept reports, and the other halves of their pairs."""
    own = {side for pair in duplicates for side in (pair.dropped_id, pair.kept_id)}
    return own | {half for report_id in own for half in _halves(report_id, tasks)}


def _halves(report_id: str, tasks: Sequence[Task]) -> Iterator[str]:
    for task in tasks:
        if isinstance(task, PairTask) and (other := other_half(report_id, task)) is not None:
            yield other


def _by_dropped(duplicates: pa.Table, column: str) -> dict[str, Any]:
    return dict(zip(duplicates["dropped_id"].to_pylist(), duplicates[column].to_pylist(), strict=True))
