"""Records of the review queue and their conversion to and from ledger rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.people import is_same_person, person_key


def find_spellings(connection: sa.Connection, column: sa.Column[Any], name: str) -> list[str]:
    """Every spelling of this person's name in the column, so that SQL can match it exactly."""
    present = connection.execute(sa.select(column).where(column.is_not(None)).distinct()).scalars()
    return [found for found in present if is_same_person(found, name)]


STATES = ("waiting", "second_review", "disagreement", "approved", "rejected", "trusted")
OPEN_STATES = ("waiting", "second_review", "disagreement")
"""States in which an item still needs a decision."""
OPEN = "open"
"""Filter value for all open states."""
REVIEW_STATES = ("waiting", "second_review")
"""States that reviewers are offered by default; adjudicators filter for disagreements."""
REVIEWABLE = "reviewable"
"""Filter value for `REVIEW_STATES`."""


@dataclass(frozen=True)
class ReviewItem:
    example_id: str
    fingerprint: str
    report_id: str
    subject_key: str
    line: str
    task: str
    source: str
    flag_count: int
    flag_kinds: tuple[str, ...]
    state: str
    arrived_at: datetime
    removed_at: datetime | None
    assigned_to: str | None
    assigned_until: datetime | None
    version: int
    case_key: str
    """Items with the same one are identical cases; empty for an item that is never decided together with others."""

    def is_assigned_to_other(self, by: str, now: datetime) -> bool:
        """Whether a person other than `by` is assigned at `now`."""
        if self.assigned_to is None or self.assigned_until is None or self.assigned_until <= now:
            return False
        return not is_same_person(self.assigned_to, by)


@dataclass(frozen=True)
class NewItem:
    """A current draft with the state that its decisions give it."""

    example_id: str
    fingerprint: str
    report_id: str
    subject_key: str
    line: str
    """The product line: name of the recipe that drafted it."""
    task: str
    source: str
    author: str | None
    """Author of the source text; None for a report."""
    is_trusted: bool
    """Whether the recipe trusts the source."""
    flag_count: int
    flag_kinds: tuple[str, ...]
    state: str
    decided_by: tuple[str, ...]
    """People who may not decide."""
    case_key: str = ""


@dataclass(frozen=True)
class SyncCounts:
    added: int
    restored: int
    changed: int
    removed: int
    total: int
    """Items that have a current draft."""


@dataclass(frozen=True)
class QueuePosition:
    """A place in the queue: behind this example, as it was listed."""

    example_id: str
    state: str | None = None
    """Its state when it was listed, because a decision moves it to another place; None: the filter's or its present one."""


@dataclass(frozen=True)
class QueueFilter:
    task: str | None = None
    source: str | None = None
    flag: str | None = None
    """A kind of flag."""
    state: str | None = None
    """One of STATES, `open` or `reviewable`."""
    assigned_to: str | None = None
    arrived_before: datetime | None = None
    arrived_after: datetime | None = None


@dataclass(frozen=True)
class TaskProgress:
    task: str
    counts: dict[str, int]
    """State → number of items; states without items are absent."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def open(self) -> int:
        return sum(self.counts.get(state, 0) for state in OPEN_STATES)


@dataclass(frozen=True)
class Facets:
    """Filter options with their number of items, most frequent first."""

    tasks: dict[str, int]
    sources: dict[str, int]
    flags: dict[str, int]
    states: dict[str, int]


def to_row(item: NewItem) -> dict[str, Any]:
    row = dict(vars(item))
    author = row.pop("author")
    decided_by, kinds = join_lines(person_key(name) for name in item.decided_by), join_lines(item.flag_kinds)
    author_key = None if author is None else person_key(author)
    return {**row, "author_key": author_key, "decided_by": decided_by, "flag_kinds": kinds}


def from_row(row: Mapping[str, Any]) -> NewItem:
    fields = {name: row[name] for name in NewItem.__dataclass_fields__ if name in row}
    lists = {name: split_lines(row[name]) for name in ("flag_kinds", "decided_by")}
    return NewItem(**{**fields, **lists, "author": row["author_key"]})


def join_lines(parts: Iterable[str]) -> str:
    """Each part enclosed in line breaks: `\\npart\\n` matches whole parts only."""
    listed = list(parts)
    return "".join(["\n", *(f"{part}\n" for part in listed)]) if listed else ""


def split_lines(lines: str) -> tuple[str, ...]:
    return tuple(part for part in lines.split("\n") if part)
