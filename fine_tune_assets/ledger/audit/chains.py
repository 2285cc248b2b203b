"""A table as a chain: each line holds the hash of the one before, so that a changed, removed or moved line shows.

Owns appending and checking, for any table with the columns `position`, `at`, `previous_hash`, `line_hash` and some of its own.
Lines are appended within a transaction of `Ledger.begin()`, of which there is one at a time. Cutting off the newest lines does
not show: keep a note of the newest hash elsewhere.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.ledger.database import Ledger

_READ_AT_ONCE = 2000
FIRST_HASH = "0" * 64
"""What the first line names as the hash before it."""


@dataclass(frozen=True)
class Start:
    """Where a chain begins: at its first line, or behind what was cut off."""

    position: int = 0
    line_hash: str = FIRST_HASH


@dataclass(frozen=True)
class ChainCheck:
    """What `verify` found: how many lines are sound, and where the first fault is."""

    lines: int
    newest_hash: str
    broken_at: int | None
    reason: str

    @property
    def is_intact(self) -> bool:
        return self.broken_at is None


@dataclass(frozen=True)
class Chain:
    table: sa.Table
    columns: tuple[str, ...]
    """Its own, in the order in which they are hashed."""
    later: tuple[str, ...] = ()
    """Columns that came later, hashed where they hold something: lines of before keep their hash."""

    def append(
        self,
        connection: sa.Connection,
        lines: Sequence[Mapping[str, Any]],
        start: Callable[[sa.Connection], Start | None] = lambda _: None,
    ) -> None:
        """Add lines (`at` and the table's own columns), in their order. `start` is asked where no line is left."""
        newest = self._newest(connection) or start(connection) or Start()
        rows = []
        for line in lines:
            position, previous = newest.position + 1, newest.line_hash
            newest = Start(position, self.hash_line(position, previous, line))
            rows.append({**line, "position": position, "previous_hash": previous, "line_hash": newest.line_hash})
        if rows:
            connection.execute(self._insertion, rows)

    def verify(self, ledger: Ledger, start: Start | None = None) -> ChainCheck:
        """Walk it from its first line to its newest, a part at a time: years of lines do not fit in memory."""
        last, sound = start or Start(), 0
        for line in self._in_order(ledger):
            reason = self._fault_of(line, last)
            if reason:
                return ChainCheck(sound, last.line_hash, line["position"], reason)
            last, sound = Start(line["position"], line["line_hash"]), sound + 1
        return ChainCheck(sound, last.line_hash, None, "")

    def hash_line(self, position: int, previous: str, line: Mapping[str, Any] | sa.RowMapping) -> str:
        at: datetime = line["at"]
        own = [line[name] for name in self.columns]
        own += [[name, line[name]] for name in self.later if line[name] is not None]
        return fingerprint_json([position, at.astimezone(UTC).isoformat(), *own, previous])

    @cached_property
    def _newest_line(self) -> sa.Select[Any]:
        """Built once: that costs as much as asking, and each request of the gateway waits for it."""
        columns = self.table.c
        return sa.select(columns.position, columns.line_hash).order_by(columns.position.desc()).limit(1)

    @cached_property
    def _insertion(self) -> sa.Insert:
        return self.table.insert()

    def _newest(self, connection: sa.Connection) -> Start | None:
        row = connection.execute(self._newest_line).first()
        return None if row is None else Start(row.position, row.line_hash)

    def _fault_of(self, line: sa.RowMapping, last: Start) -> str:
        position = last.position + 1
        if line["position"] != position:
            return f"line {position} is missing"
        if line["previous_hash"] != last.line_hash:
            return f"line {position} does not follow the line before it"
        if line["line_hash"] != self.hash_line(position, last.line_hash, line):
            return f"line {position} was changed"
        return ""

    def _in_order(self, ledger: Ledger) -> Iterator[sa.RowMapping]:
        """Lines are only ever added, so that what is read part by part is one chain. Also where a line has no place in it."""
        query = sa.select(self.table).order_by(self.table.c.position).limit(_READ_AT_ONCE)
        seen: int | None = None
        while True:
            with ledger.read() as connection:
                asked = query if seen is None else query.where(self.table.c.position > seen)
                part = connection.execute(asked).mappings().all()
            yield from part
            if len(part) < _READ_AT_ONCE:
                return
            seen = part[-1]["position"]
