"""Uses reports that were dropped as duplicates: to flag drafts that they contradict, and as dialogues of notes.

Compares texts with a tag in place of each identifier, because invented names and numbers differ between subjects.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.contradictions import MAX_NAMED_DRAFTS
from fine_tune_assets.approval.flags import format_flag
from fine_tune_assets.approval.task_kinds import ReportText, SectionRules, UncheckedDraft, draft_reports, partner_id
from fine_tune_assets.claims.statements import (
    extract_statements,
    has_conflicting_facts,
    has_swapped_values,
    is_contradiction,
    normalize_text,
)
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.recipes.domain_packs import LoadedPack
from fine_tune_assets.recipes.schema import PairTask, Task
from fine_tune_assets.tables.dedup_rows import DuplicateReport
from fine_tune_assets.tables.record_classes import iter_records


class ScrubbedText(ReportText):
    """The columns read of a dropped report."""

    tagged_text: str
    fingerprint: str


ReadScrubbed = Callable[[Collection[str]], Sequence[ScrubbedText]]
"""Report ids → their rows in `scrubbed_reports`; missing reports are omitted."""
_DUPLICATES_PER_CHUNK = 512
"""Duplicates whose texts are in memory at a time."""
DraftKey = tuple[str, str]
"""Report id and task, which identify a draft of a report."""


@dataclass(frozen=True)
class DroppedReports:
    duplicates: pa.Table
    """The `duplicate_reports` table."""
    read: ReadScrubbed


def format_contradiction_flag(fingerprint: str) -> str:
    """The flag of a contradicted draft. Names the report by fingerprint: its id can contain a person's name."""
    return format_flag(
        "contradiction", f"near-duplicate report {short(fingerprint)}, which was dropped, states something else"
    )


def read_dropped_partners(dropped: DroppedReports, tasks: Sequence[Task]) -> dict[str, ScrubbedText]:
    """Id of a dropped report → the report, for reports that a pair task could need."""
    ids = [i for i in dropped.duplicates["dropped_id"].to_pylist() if any(True for _ in _partner_ids(i, tasks))]
    fingerprints = _column_by_dropped_id(dropped.duplicates, "fingerprint")
    reports = dropped.read(ids) if ids else ()
    return {r.report_id: r for r in reports if fingerprints.get(r.report_id) in (None, r.fingerprint)}


def flag_contradicted_drafts(
    dropped: DroppedReports, tasks: Sequence[Task], rules: SectionRules, pack: LoadedPack
) -> dict[DraftKey, list[str]]:
    """Drafts that a dropped report contradicts, with a flag per report. Skips exact copies."""
    flags: dict[DraftKey, list[str]] = defaultdict(list)
    kept_by_dropped = _column_by_dropped_id(dropped.duplicates, "kept_id")
    others = dropped.duplicates.filter(pc.not_equal(dropped.duplicates["kind"], "exact"))
    for at in range(0, others.num_rows, _DUPLICATES_PER_CHUNK):
        duplicates = list(iter_records(DuplicateReport, others.slice(at, _DUPLICATES_PER_CHUNK)))
        for key, found in _find_contradicted(duplicates, dropped.read, tasks, kept_by_dropped, rules, pack):
            if len(flags[key]) < MAX_NAMED_DRAFTS:
                flags[key].append(found)
    return dict(flags)


def _find_contradicted(
    duplicates: Sequence[DuplicateReport],
    read: ReadScrubbed,
    tasks: Sequence[Task],
    kept_by_dropped: Mapping[str, str],
    rules: SectionRules,
    pack: LoadedPack,
) -> Iterator[tuple[DraftKey, str]]:
    reports = {report.report_id: report for report in read(_needed_report_ids(duplicates, tasks))}
    tagged = [replace(report, text=report.tagged_text) for report in reports.values()]
    drafted = draft_reports(lambda: tagged, tasks, [], rules)
    drafts = {(draft.report_id, draft.task): draft for draft in drafted}
    for pair in duplicates:
        report = reports.get(pair.dropped_id)
        # Skip reports scrubbed again since: this stage reruns once deduplication has used the new text.
        if report is None or pair.fingerprint not in (None, report.fingerprint):
            continue
        for task in tasks:
            dropped_draft, kept_draft = (drafts.get((side, task.name)) for side in (pair.dropped_id, pair.kept_id))
            if (
                dropped_draft is not None
                and kept_draft is not None
                and _has_matching_input(dropped_draft, kept_draft, task, kept_by_dropped)
                and _disagree(dropped_draft.output, kept_draft.output, pair.kind, pack.pack.checks)
            ):
                yield (kept_draft.report_id, task.name), format_contradiction_flag(report.fingerprint)


def _disagree(dropped_output: str, kept_output: str, kind: str, checks: Collection[str]) -> bool:
    """Whether two outputs contradict each other. Semantic duplicates differ in wording, so only their facts are compared."""
    # True for most near copies; extracting statements costs a thousand times as much.
    if normalize_text(dropped_output) == normalize_text(kept_output):
        return False
    statements = [extract_statements(output, checks) for output in (dropped_output, kept_output)]
    return (
        has_conflicting_facts(*statements)
        if kind == "semantic"
        else is_contradiction(*statements) or has_swapped_values(dropped_output, kept_output)
    )


def _has_matching_input(
    dropped_draft: UncheckedDraft, kept_draft: UncheckedDraft, task: Task, kept_by_dropped: Mapping[str, str]
) -> bool:
    """Whether the inputs match: always within near-identical reports; for a pair task, compare the partners."""
    if not isinstance(task, PairTask):
        return True
    one, other = (str(partner_id(draft.report_id, task)) for draft in (dropped_draft, kept_draft))
    return kept_by_dropped.get(one, one) == kept_by_dropped.get(other, other)


def _needed_report_ids(duplicates: Sequence[DuplicateReport], tasks: Sequence[Task]) -> set[str]:
    """Dropped and kept_draft reports, and their partners in pair tasks."""
    ids = {side for pair in duplicates for side in (pair.dropped_id, pair.kept_id)}
    return ids | {half for report_id in ids for half in _partner_ids(report_id, tasks)}


def _partner_ids(report_id: str, tasks: Sequence[Task]) -> Iterator[str]:
    for task in tasks:
        if isinstance(task, PairTask) and (other := partner_id(report_id, task)) is not None:
            yield other


def _column_by_dropped_id(duplicates: pa.Table, column: str) -> dict[str, Any]:
    return dict(zip(duplicates["dropped_id"].to_pylist(), duplicates[column].to_pylist(), strict=True))
