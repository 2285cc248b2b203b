"""The account: what entered each stage from reports to the instruction set, what left it, and what was left out and why.

One pure function over ids. Each report, draft and example has exactly one fate, so that what entered a stage is what left it and
what was left out. A batch whose table is missing is left out with a reason, never counted as nothing.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from fine_tune_assets.lineage.account_reasons import (
    COMPARE,
    DRAFT,
    READ,
    REASONS,
    REVIEW,
    SCRUB,
    SET,
    STAGES,
    Reason,
    Stage,
)
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.duckdb_connection import open_cursor

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "reports": ("report_id", "batch", "subject_key"),
    "unreadable_reports": ("batch", "reason"),
    "withheld_reports": ("report_id", "kind"),
    "scrubbed_reports": ("report_id",),
    "unique_reports": ("report_id",),
    "duplicate_reports": ("dropped_id", "kind"),
    "uncompared_reports": ("report_id", "reason"),
    "drafted_examples": ("example_id", "report_id"),
    "undrafted_reports": ("report_id", "reason", "detail"),
    "approved_examples": ("example_id",),
    "withheld_examples": ("example_id", "reason"),
    "instruction_sets": ("example_id",),
}
"""Tables of the account, with the columns that it reads: ids and reasons, never text."""
NOT_SCRUBBED = "NOT_SCRUBBED"
"""Kind of residual PHI of a report that could not be scrubbed."""
CORRECTIONS = "correction"
"""Stands for the batch of drafts that come from users' corrections."""


@dataclass(frozen=True)
class AccountFacts:
    tables: Mapping[str, pa.Table]
    """The tables of COLUMNS. A missing one counts as empty."""
    unread_files: Mapping[str, int] = field(default_factory=dict)
    """Batch folder that was never read → files in it."""
    erased_subjects: Collection[str] = ()
    review_states: Mapping[str, str] = field(default_factory=dict)
    """Draft in the queue → its state."""
    partners: Collection[str] = ()
    """Reports that are part of a draft of another report, such as the dialogue of a note."""
    excluded: Mapping[str, str] = field(default_factory=dict)
    """Approved example that the newest set excludes → reason without ids."""


@dataclass(frozen=True)
class Omission:
    """What was left out of one batch for one reason."""

    batch: str
    reason: Reason
    detail: str
    """Such as the kind of duplicate, or the section that is missing; empty if the reason says all."""
    count: int


@dataclass(frozen=True)
class StageCount:
    stage: Stage
    entered: int
    left: int
    omitted: int


@dataclass(frozen=True)
class Account:
    passed: Mapping[tuple[Stage, str], int]
    """(Stage, batch) → what left the stage."""
    omissions: tuple[Omission, ...]
    """In the order of the registry, then by batch."""

    @cached_property
    def batches(self) -> tuple[str, ...]:
        return tuple(sorted({batch for _, batch in self.passed} | {one.batch for one in self.omissions}))

    def of_batch(self, batch: str) -> "Account":
        passed = {key: count for key, count in self.passed.items() if key[1] == batch}
        return Account(passed, tuple(one for one in self.omissions if one.batch == batch))

    def count_stages(self) -> list[StageCount]:
        """In order, without stages that nothing entered."""
        counts = [self._count_stage(stage) for stage in STAGES]
        return [count for count in counts if count.entered]

    def count_omitted(self, *stages: Stage) -> int:
        return sum(one.count for one in self.omissions if one.reason.stage in stages)

    def group_by_reason(self) -> list["OmissionGroup"]:
        """The omissions of all batches by reason, in the order of the registry."""
        return [
            OmissionGroup(reason, tuple(found))
            for reason in REASONS.values()
            if (found := [one for one in self.omissions if one.reason is reason])
        ]

    def _count_stage(self, stage: Stage) -> StageCount:
        left, omitted = sum(n for (of, _), n in self.passed.items() if of is stage), self.count_omitted(stage)
        return StageCount(stage, left + omitted, left, omitted)


@dataclass(frozen=True)
class OmissionGroup:
    """What was left out for one reason."""

    reason: Reason
    omissions: tuple[Omission, ...]

    @property
    def count(self) -> int:
        return sum(one.count for one in self.omissions)

    @property
    def by_detail(self) -> dict[str, int]:
        """Most frequent first; without details that are empty."""
        counts = Counter[str]()
        for one in self.omissions:
            counts[one.detail] += one.count
        return {detail: counts[detail] for detail in sorted(counts, key=lambda d: (-counts[d], d)) if detail}

    @property
    def by_batch(self) -> dict[str, int]:
        counts = Counter[str]()
        for one in self.omissions:
            counts[one.batch] += one.count
        return dict(sorted(counts.items()))


# The first condition that applies is a report's fate. NULL: it left the last stage.
_REPORTS = f"""
with withheld as (select report_id, bool_and(kind = '{NOT_SCRUBBED}') as is_unscrubbable from withheld_reports group by all),
     dropped as (select dropped_id as report_id, min(kind) as kind from duplicate_reports group by all),
     waiting as (select report_id, min(reason) as reason from uncompared_reports group by all),
     undrafted as (select report_id, min(reason) as reason, min(detail) as detail from undrafted_reports group by all),
     fates as (
  select report.batch, case
      when report.subject_key in (select subject_key from erased) then 'erased'
      when withheld.is_unscrubbable then 'unscrubbable'
      when withheld.report_id is not null then 'residual_phi'
      when report.report_id not in (select report_id from scrubbed_reports) then 'not_scrubbed'
      when report.report_id in (select report_id from unique_reports) then case
          when report.report_id in (select report_id from drafted_examples) then null
          when report.report_id in (select report_id from partners) then null
          else coalesce(undrafted.reason, 'not_drafted') end
      when dropped.report_id is not null then 'duplicate'
      when waiting.report_id is not null then waiting.reason
      else 'not_compared' end as fate, dropped.kind, undrafted.reason, undrafted.detail
  from reports as report left join withheld using (report_id) left join dropped using (report_id)
      left join waiting using (report_id) left join undrafted using (report_id))
select batch, fate, coalesce(case fate when 'duplicate' then kind when reason then detail end, ''), count(*)
from fates group by all
"""
_DRAFTS = """
with withheld as (select example_id, min(reason) as reason from withheld_examples group by all)
select split_part(draft.report_id, '/', 1) as batch, case
    when draft.example_id in (select example_id from approved_examples) then null
    when withheld.example_id is not null then withheld.reason
    when item.state in ('waiting', 'second_review', 'disagreement', 'rejected') then item.state
    else 'not_approved' end as fate, '', count(*)
from drafted_examples as draft left join withheld using (example_id) left join items as item using (example_id) group by all
"""
_EXAMPLES = """
select split_part(example.report_id, '/', 1) as batch, case
    when example.example_id in (select example_id from instruction_sets) then null
    when excluded.example_id is not null then 'excluded'
    else 'not_in_set' end as fate, coalesce(excluded.detail, ''), count(*)
from drafted_examples as example left join excluded using (example_id)
where example.example_id in (select example_id from approved_examples) group by all
"""
_READ = "select batch, 'unreadable', reason, count(*) from unreadable_reports group by all"


def compute_account(facts: AccountFacts) -> Account:
    """The account of all batches."""
    with open_cursor() as cursor:
        for name, table in _list_inputs(facts).items():
            cursor.register(name, table)
        read, reports, drafts, examples = (
            _to_rows(cursor.execute(query).fetchall()) for query in (_READ, _REPORTS, _DRAFTS, _EXAMPLES)
        )
    unread = [(batch, "not_read", "", files) for batch, files in facts.unread_files.items()]
    passed: Counter[tuple[Stage, str]] = Counter()
    for batch, fate, _, count in reports:
        stopped_at = len(STAGES) if fate is None else STAGES.index(REASONS[fate].stage)
        for stage in (READ, SCRUB, COMPARE, DRAFT):
            passed[stage, batch] += count if STAGES.index(stage) < stopped_at else 0
    for stage, rows in ((REVIEW, drafts), (SET, examples)):
        for batch, fate, _, count in rows:
            passed[stage, batch] += count if fate is None else 0
    order = list(REASONS)
    omitted = [row for row in (*read, *unread, *reports, *drafts, *examples) if row[1] is not None and row[3]]
    omitted.sort(key=lambda row: (order.index(str(row[1])), row[0], row[2]))
    return Account(
        dict(passed), tuple(Omission(batch, REASONS[str(fate)], detail, n) for batch, fate, detail, n in omitted)
    )


_Row = tuple[str, str | None, str, int]
"""Batch, reason or None for what passed, detail, count."""


def _to_rows(found: list[tuple[object, ...]]) -> list[_Row]:
    return [(str(b), None if fate is None else str(fate), str(detail), int(str(n))) for b, fate, detail, n in found]


def _list_inputs(facts: AccountFacts) -> dict[str, pa.Table]:
    """Name in the queries → table."""
    empty = {
        name: pa.schema([TABLES[name].field(column) for column in columns]).empty_table()
        for name, columns in COLUMNS.items()
    }
    return {
        **empty,
        **facts.tables,
        "erased": _to_table(subject_key=facts.erased_subjects),
        "partners": _to_table(report_id=facts.partners),
        "items": _to_table(example_id=facts.review_states.keys(), state=facts.review_states.values()),
        "excluded": _to_table(example_id=facts.excluded.keys(), detail=facts.excluded.values()),
    }


def _to_table(**columns: Collection[str]) -> pa.Table:
    return pa.table({name: pa.array(list(values), pa.string()) for name, values in columns.items()})
