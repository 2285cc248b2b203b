"""The records of the review queue, how each is written as a row of the ledger, and how one person's name is spelt in its
columns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.people import is_same_person, person_key


def spellings_of(connection: sa.Connection, column: sa.Column[Any], name: str) -> list[str]:
    """Every name in the column that is this person's: SQL can then look for them to the letter."""
    present = connection.execute(sa.select(column).where(column.is_not(None)).distinct()).scalars()
    return [found for found in present if is_same_person(found, name)]


STATES = ("waiting", "second_review", "disagreement", "approved", "rejected", "trusted")
OPEN_STATES = ("waiting", "second_review", "disagreement")
"""States in which an item still needs somebody."""
OPEN = "open"
"""What a filter calls all of these."""


@dataclass(frozen=True)
class ReviewItem:
    example_id: str
    fingerprint: str
    report_id: str
    patient_key: str
    line: str
    task: str
    source: str
    flag_count: int
    flag_kinds: tuple[str, ...]
    state: str
    arrived_at: datetime
    gone_at: datetime | None
    assigned_to: str | None
    assigned_until: datetime | None
    version: int

    def is_taken(self, by: str, now: datetime) -> bool:
        """Whether somebody other than `by` has it at `now`."""
        if self.assigned_to is None or self.assigned_until is None or self.assigned_until <= now:
            return False
        return not is_same_person(self.assigned_to, by)


@dataclass(frozen=True)
class NewItem:
    """A draft as it stands now, and what its decisions make of it."""

    example_id: str
    fingerprint: str
    report_id: str
    patient_key: str
    line: str
    """The product line: the name of the recipe that drafted it."""
    task: str
    source: str
    author: str | None
    """Who wrote what the draft was made of; None for a report."""
    is_trusted: bool
    """Whether the recipe trusts the source."""
    flag_count: int
    flag_kinds: tuple[str, ...]
    state: str
    decided_by: tuple[str, ...]
    """Those who have no say in it any more."""


@dataclass(frozen=True)
class SyncCounts:
    arrived: int
    returned: int
    changed: int
    gone: int
    total: int
    """Items that have a draft now."""


@dataclass(frozen=True)
class QueueFilter:
    task: str | None = None
    source: str | None = None
    flag: str | None = None
    """A kind of flag."""
    state: str | None = None
    """One of STATES, or `open`."""
    assigned_to: str | None = None
    arrived_before: datetime | None = None
    arrived_after: datetime | None = None


@dataclass(frozen=True)
class TaskProgress:
    task: str
    counts: dict[str, int]
    """State → items in it; a state without any is absent."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def open(self) -> int:
        return sum(self.counts.get(state, 0) for state in OPEN_STATES)


@dataclass(frozen=True)
class Facets:
    """What occurs, with how many items each, most first: the menus of a filter."""

    tasks: dict[str, int]
    sources: dict[str, int]
    flags: dict[str, int]
    states: dict[str, int]


def row_of(item: NewItem) -> dict[str, Any]:
    row = dict(vars(item))
    author = row.pop("author")
    decided_by, kinds = as_lines(person_key(name) for name in item.decided_by), as_lines(item.flag_kinds)
    author_key = None if author is None else person_key(author)
    return {**row, "author_key": author_key, "decided_by": decided_by, "flag_kinds": kinds}


def new_item_of(row: Mapping[str, Any]) -> NewItem:
    kept = {name: row[name] for name in NewItem.__dataclass_fields__ if name in row}
    lists = {name: in_lines(row[name]) for name in ("flag_kinds", "decided_by")}
    return NewItem(**{**kept, **lists, "author": row["author_key"]})


def as_lines(parts: Iterable[str]) -> str:
    """Each part between line breaks, so that a part is found by `\\npart\\n` and no part of a part is."""
    listed = list(parts)
    return "".join(["\n", *(f"{part}\n" for part in listed)]) if listed else ""


def in_lines(lines: str) -> tuple[str, ...]:
    return tuple(part for part in lines.split("\n") if part)
