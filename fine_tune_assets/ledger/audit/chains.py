"""Makes a table a hash chain: each row contains the hash of the previous one, so that changed, removed or moved rows show.

Works for any table with the columns `position`, `at`, `previous_hash` and `entry_hash`. Hashes are keyed by the installation's
key, so that the database alone is not enough to write another history. Append within a transaction of `Ledger.begin()`, which
admits one writer at a time. A shortened chain is intact: `audit_head` keeps a copy of the newest hash.
"""

import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.ledger.audit_head import AuditHead
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.seals import Seals, get_seals

_PAGE_SIZE = 2000
FIRST_HASH = "0" * 64
"""The previous hash of the first entry."""


@dataclass(frozen=True)
class ChainStart:
    """Where a chain begins: at its first entry, or after the pruned ones."""

    position: int = 0
    entry_hash: str = FIRST_HASH


@dataclass(frozen=True)
class ChainCheck:
    """Result of `verify`: the number of intact entries and the position of the first fault."""

    entry_count: int
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
    """The table's own columns, in hashing order."""

    def append(
        self,
        connection: sa.Connection,
        entries: Sequence[Mapping[str, Any]],
        start: Callable[[sa.Connection], ChainStart | None] = lambda _: None,
    ) -> ChainStart:
        """Append entries (`at` and the table's own columns) in order, and return the newest. `start` supplies the chain's start
        if the table is empty."""
        newest = self._find_newest(connection) or start(connection) or ChainStart()
        rows = []
        for line in entries:
            position, previous = newest.position + 1, newest.entry_hash
            newest = ChainStart(position, self.hash_entry(get_seals(connection).chain, position, previous, line))
            rows.append({**line, "position": position, "previous_hash": previous, "entry_hash": newest.entry_hash})
        if rows:
            connection.execute(self._insert_statement, rows)
        return newest

    def verify(self, ledger: Ledger, start: ChainStart | None = None, head: AuditHead | None = None) -> ChainCheck:
        """Verify the chain page by page: years of entries don't fit in memory. `head`: an entry that it must contain."""
        last, intact_count, key = start or ChainStart(), 0, Seals(ledger.key).chain
        for line in self._iterate_entries(ledger):
            reason = self._find_fault(key, line, last)
            if reason:
                return ChainCheck(intact_count, last.entry_hash, line["position"], reason)
            last, intact_count = ChainStart(line["position"], line["entry_hash"]), intact_count + 1
            if head is not None and head.position == last.position and head.entry_hash != last.entry_hash:
                return ChainCheck(intact_count, last.entry_hash, last.position, f"line {last.position} was replaced")
        if head is not None and head.position > last.position:
            reason = f"the lines {last.position + 1} to {head.position} were removed"
            return ChainCheck(intact_count, last.entry_hash, last.position + 1, reason)
        return ChainCheck(intact_count, last.entry_hash, None, "")

    def is_authentic(self, connection: sa.Connection, line: sa.RowMapping) -> bool:
        """Whether this installation wrote the entry, with all columns in `line`. The rest of the chain is not checked."""
        key = get_seals(connection).chain
        return hmac.compare_digest(
            str(line["entry_hash"]), self.hash_entry(key, line["position"], line["previous_hash"], line)
        )

    def hash_entry(self, key: bytes, position: int, previous: str, line: Mapping[str, Any] | sa.RowMapping) -> str:
        at: datetime = line["at"]
        values = [line[name] for name in self.columns]
        content = [position, at.astimezone(UTC).isoformat(), *values, previous]
        return keyed_hash(key, json.dumps(content, ensure_ascii=False, separators=(",", ":")))

    @cached_property
    def _newest_query(self) -> sa.Select[Any]:
        """Cached: building the query costs as much as running it, and every gateway request waits for it."""
        columns = self.table.c
        return sa.select(columns.position, columns.entry_hash).order_by(columns.position.desc()).limit(1)

    @cached_property
    def _insert_statement(self) -> sa.Insert:
        return self.table.insert()

    def _find_newest(self, connection: sa.Connection) -> ChainStart | None:
        row = connection.execute(self._newest_query).first()
        return None if row is None else ChainStart(row.position, row.entry_hash)

    def _find_fault(self, key: bytes, line: sa.RowMapping, last: ChainStart) -> str:
        position = last.position + 1
        if line["position"] != position:
            return f"line {position} is missing"
        if line["previous_hash"] != last.entry_hash:
            return f"line {position} does not follow the line before it"
        if line["entry_hash"] != self.hash_entry(key, position, last.entry_hash, line):
            return f"line {position} was changed"
        return ""

    def _iterate_entries(self, ledger: Ledger) -> Iterator[sa.RowMapping]:
        """Every entry, page by page. Entries are only appended, so the pages form one chain. Includes entries out of place."""
        query = sa.select(self.table).order_by(self.table.c.position).limit(_PAGE_SIZE)
        seen: int | None = None
        while True:
            with ledger.read() as connection:
                page_query = query if seen is None else query.where(self.table.c.position > seen)
                page = connection.execute(page_query).mappings().all()
            yield from page
            if len(page) < _PAGE_SIZE:
                return
            seen = page[-1]["position"]
