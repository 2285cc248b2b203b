"""The account: how many reports, drafts and examples entered each stage, how many left it, and how many it omitted and why.

Pure functions over ids. Each report, draft and example has exactly one fate, so the number that entered a stage equals the number
that left it plus the number omitted. A report whose table is missing counts as omitted, with a reason.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import duckdb
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
    erased_subjects: Collection[str] = ()
    partners: Collection[str] = ()
    """Reports that are part of a draft of another report, such as the dialogue of a note."""
    excluded: Mapping[str, str] = field(default_factory=dict)
    """Approved example that the newest set excludes → reason without ids."""


@dataclass(frozen=True)
class Omission:
    """Rows of one batch that were omitted for the same reason."""

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

    def count_by_reason(self, *names: str) -> int:
        return sum(one.count for one in self.omissions if one.reason.name in names)

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
    """The omissions of all batches for the same reason."""

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
_DECIDED_DRAFTS = """
with withheld as (select example_id, min(reason) as reason from withheld_examples group by all)
select split_part(draft.report_id, '/', 1) as batch, if(approved.example_id is null, withheld.reason, null) as fate, '', count(*)
from drafted_examples as draft left join withheld using (example_id)
    left join (select distinct example_id from approved_examples) as approved using (example_id)
where approved.example_id is not null or withheld.example_id is not null group by all
"""
_OPEN_DRAFTS = """
select example_id, split_part(report_id, '/', 1) as batch
from drafted_examples anti join approved_examples using (example_id) anti join withheld_examples using (example_id)
"""
_OPEN_STATES = """
select draft.batch, coalesce(item.state, 'not_approved') as fate, '', count(*)
from drafts as draft left join items as item using (example_id) group by all
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


def count_tables(facts: AccountFacts) -> "TableCounts":
    """The part of the account that does not depend on the review queue."""
    with open_cursor() as cursor:
        for name, table in _list_inputs(facts).items():
            cursor.register(name, table)
        read, reports, drafts, examples = (
            _query_rows(cursor, query) for query in (_READ, _REPORTS, _DECIDED_DRAFTS, _EXAMPLES)
        )
        return TableCounts(read, reports, drafts, examples, cursor.sql(_OPEN_DRAFTS).to_arrow_table())


_Row = tuple[str, str | None, str, int]
"""Batch, reason or None for what passed, detail, count."""


@dataclass(frozen=True)
class TableCounts:
    """The result of `count_tables`."""

    unreadable: Sequence[_Row]
    reports: Sequence[_Row]
    drafts: Sequence[_Row]
    """Approved or withheld ones."""
    examples: Sequence[_Row]
    open_drafts: pa.Table
    """Id and batch of drafts that are neither approved nor withheld."""

    def complete(self, review_states: Mapping[str, Sequence[str]], unread_files: Mapping[str, int]) -> Account:
        """The account of all batches.

        `review_states`: state → drafts in the queue with it; a draft that is in none of them was decided since the last run.
        `unread_files`: batch folder that was never read → number of files in it.
        """
        unread: list[_Row] = [(batch, "not_read", "", files) for batch, files in unread_files.items()]
        drafts = [*self.drafts, *_count_open_drafts(self.open_drafts, review_states)]
        passed: Counter[tuple[Stage, str]] = Counter()
        for batch, fate, _, count in self.reports:
            stopped_at = len(STAGES) if fate is None else STAGES.index(REASONS[fate].stage)
            for stage in (READ, SCRUB, COMPARE, DRAFT):
                passed[stage, batch] += count if STAGES.index(stage) < stopped_at else 0
        for stage, rows in ((REVIEW, drafts), (SET, self.examples)):
            for batch, fate, _, count in rows:
                passed[stage, batch] += count if fate is None else 0
        order = list(REASONS)
        omitted = [
            (order.index(fate), batch, detail, count)
            for batch, fate, detail, count in (*self.unreadable, *unread, *self.reports, *drafts, *self.examples)
            if fate is not None and count
        ]
        reasons = list(REASONS.values())
        return Account(
            dict(passed), tuple(Omission(batch, reasons[at], detail, n) for at, batch, detail, n in sorted(omitted))
        )


def _count_open_drafts(drafts: pa.Table, review_states: Mapping[str, Sequence[str]]) -> list[_Row]:
    states = [(pa.array(ids, pa.string()), state) for state, ids in review_states.items()]
    parts = [pa.table({"example_id": ids, "state": pa.repeat(state, len(ids))}) for ids, state in states]
    with open_cursor() as cursor:
        cursor.register("drafts", drafts)
        cursor.register("items", pa.concat_tables([_to_table(example_id=(), state=()), *parts]))
        return _query_rows(cursor, _OPEN_STATES)


def _query_rows(cursor: duckdb.DuckDBPyConnection, query: str) -> list[_Row]:
    return cursor.execute(query).fetchall()


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
        "excluded": _to_table(example_id=facts.excluded.keys(), detail=facts.excluded.values()),
    }


def _to_table(**columns: Collection[str]) -> pa.Table:
    return pa.table({name: pa.array(list(values), pa.string()) for name, values in columns.items()})
