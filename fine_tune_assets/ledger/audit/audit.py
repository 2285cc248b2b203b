"""The audit log: who did what about which id, as a chain (see `chains`). Lines hold ids and names, never text.

Owns its lines. What each request of the gateway was is in `requests`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from fine_tune_assets.ledger.audit.chains import Chain, ChainCheck
from fine_tune_assets.ledger.database import Ledger, newest_first, writing
from fine_tune_assets.ledger.schema import audit_lines

_CHAIN = Chain(audit_lines, ("who", "what", "about"))


@dataclass(frozen=True)
class AuditLine:
    position: int
    at: datetime
    who: str
    what: str
    about: str
    previous_hash: str
    line_hash: str


def append(target: Ledger | sa.Connection, who: str, what: str, about: str) -> None:
    """Add a line. With a connection from `Ledger.begin()` it is part of that transaction."""
    with writing(target) as connection:
        _CHAIN.append(connection, [{"at": datetime.now(UTC), "who": who, "what": what, "about": about}])


def lines(ledger: Ledger) -> list[AuditLine]:
    with ledger.read() as connection:
        rows = connection.execute(sa.select(audit_lines).order_by(audit_lines.c.position))
        return [AuditLine(**row) for row in rows.mappings()]


def newest_lines(ledger: Ledger, before: int | None, limit: int) -> list[AuditLine]:
    """At most `limit` lines, the newest first; only those before a position if one is given."""
    query = newest_first(sa.select(audit_lines), audit_lines.c.position, before, limit)
    with ledger.read() as connection:
        return [AuditLine(**row) for row in connection.execute(query).mappings()]


def verify(ledger: Ledger) -> ChainCheck:
    """Walk the chain from its first line to its newest."""
    return _CHAIN.verify(ledger)


def has_line(connection: sa.Connection, who: str, what: str, about: str) -> bool:
    """Whether the log says so. For gates that trust no single row."""
    query = sa.select(audit_lines.c.position).where(
        audit_lines.c.who == who, audit_lines.c.what == what, audit_lines.c.about == about
    )
    return connection.execute(query.limit(1)).first() is not None


def newest_about(connection: sa.Connection, who: str, what: str) -> str | None:
    """What the newest such line is about."""
    query = sa.select(audit_lines.c.about).where(audit_lines.c.who == who, audit_lines.c.what == what)
    return connection.execute(query.order_by(audit_lines.c.position.desc()).limit(1)).scalar()


def hash_line(position: int, at: datetime, who: str, what: str, about: str, previous: str) -> str:
    return _CHAIN.hash_line(position, previous, {"at": at, "who": who, "what": what, "about": about})
