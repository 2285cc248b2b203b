"""The audit log: who did what about which id, as a chain in which each line holds the hash of the one before.

Owns appending and checking. A line that was changed, removed or put between others breaks the chain; cutting off the
newest lines does not, so keep a note of the newest hash elsewhere. Lines hold ids and names, never text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import audit_lines

_READ_AT_ONCE = 2000
FIRST_HASH = "0" * 64
"""What the first line names as the hash before it."""


@dataclass(frozen=True)
class AuditLine:
    position: int
    at: datetime
    who: str
    what: str
    about: str
    previous_hash: str
    line_hash: str


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


def append(target: Ledger | sa.Connection, who: str, what: str, about: str) -> None:
    """Add a line. With a connection from `Ledger.begin()` it is part of that transaction."""
    if isinstance(target, Ledger):
        with target.begin() as connection:
            _append(connection, who, what, about)
    else:
        _append(target, who, what, about)


def _append(connection: sa.Connection, who: str, what: str, about: str) -> None:
    newest = connection.execute(
        sa.select(audit_lines.c.position, audit_lines.c.line_hash).order_by(audit_lines.c.position.desc()).limit(1)
    ).first()
    position, previous = (1, FIRST_HASH) if newest is None else (newest.position + 1, newest.line_hash)
    at = datetime.now(UTC)
    line_hash = _hash_line(position, at, who, what, about, previous)
    connection.execute(
        audit_lines.insert().values(
            position=position, at=at, who=who, what=what, about=about, previous_hash=previous, line_hash=line_hash
        )
    )


def lines(ledger: Ledger) -> list[AuditLine]:
    with ledger.read() as connection:
        rows = connection.execute(sa.select(audit_lines).order_by(audit_lines.c.position))
        return [AuditLine(**row) for row in rows.mappings()]


def newest_lines(ledger: Ledger, before: int | None, limit: int) -> list[AuditLine]:
    """At most `limit` lines, the newest first; only those before a position if one is given."""
    query = sa.select(audit_lines).order_by(audit_lines.c.position.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_lines.c.position < before)
    with ledger.read() as connection:
        return [AuditLine(**row) for row in connection.execute(query).mappings()]


def verify(ledger: Ledger) -> ChainCheck:
    """Walk the chain from its first line to its newest, a part at a time: a log of years does not fit in memory."""
    previous, sound = FIRST_HASH, 0
    for line in _in_order(ledger):
        reason = _fault_of(line, sound + 1, previous)
        if reason:
            return ChainCheck(sound, previous, line.position, reason)
        previous, sound = line.line_hash, sound + 1
    return ChainCheck(sound, previous, None, "")


def _in_order(ledger: Ledger) -> Iterator[AuditLine]:
    """Lines are only ever added, so that what is read part by part is one chain. Also where a line has no place in it."""
    query = sa.select(audit_lines).order_by(audit_lines.c.position).limit(_READ_AT_ONCE)
    seen: int | None = None
    while True:
        with ledger.read() as connection:
            asked = query if seen is None else query.where(audit_lines.c.position > seen)
            part = [AuditLine(**row) for row in connection.execute(asked).mappings()]
        yield from part
        if len(part) < _READ_AT_ONCE:
            return
        seen = part[-1].position


def _fault_of(line: AuditLine, position: int, previous: str) -> str:
    if line.position != position:
        return f"line {position} is missing"
    if line.previous_hash != previous:
        return f"line {position} does not follow the line before it"
    if line.line_hash != _hash_line(position, line.at, line.who, line.what, line.about, previous):
        return f"line {position} was changed"
    return ""


def has_line(connection: sa.Connection, who: str, what: str, about: str) -> bool:
    """Whether the log says so. For gates that trust no single row."""
    query = sa.select(audit_lines.c.position).where(
        audit_lines.c.who == who, audit_lines.c.what == what, audit_lines.c.about == about
    )
    return connection.execute(query.limit(1)).first() is not None


def _hash_line(position: int, at: datetime, who: str, what: str, about: str, previous: str) -> str:
    return fingerprint_json([position, at.astimezone(UTC).isoformat(), who, what, about, previous])
