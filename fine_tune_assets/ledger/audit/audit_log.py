"""The audit log: who did what to which id, as a hash chain. Entries contain ids and names, never text.

Gateway requests have their own chain in `request_log`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from fine_tune_assets.ledger.audit.chains import Chain, ChainCheck
from fine_tune_assets.ledger.audit_head import HEAD_FILE, AuditHead, read_head
from fine_tune_assets.ledger.database import AUDIT_HEAD, Ledger, page_newest_first, write_transaction
from fine_tune_assets.ledger.ledger_tables import audit_entries
from fine_tune_assets.ledger.seals import Seals

_CHAIN = Chain(audit_entries, ("actor", "action", "resource"))


@dataclass(frozen=True)
class AuditEntry:
    position: int
    at: datetime
    actor: str
    action: str
    resource: str
    previous_hash: str
    entry_hash: str


def append(target: Ledger | sa.Connection, actor: str, action: str, resource: str) -> None:
    """Append an entry; with a connection from `Ledger.begin()`, as part of that transaction."""
    with write_transaction(target) as connection:
        line = {"at": datetime.now(UTC), "actor": actor, "action": action, "resource": resource}
        newest = _CHAIN.append(connection, [line])
        connection.info[AUDIT_HEAD] = AuditHead(newest.position, newest.entry_hash)


def list_entries(ledger: Ledger) -> list[AuditEntry]:
    with ledger.read() as connection:
        rows = connection.execute(sa.select(audit_entries).order_by(audit_entries.c.position))
        return [AuditEntry(**row) for row in rows.mappings()]


def list_newest_entries(ledger: Ledger, before: int | None, limit: int) -> list[AuditEntry]:
    """At most `limit` entries, newest first; with `before`, only those before that position."""
    query = page_newest_first(sa.select(audit_entries), audit_entries.c.position, before, limit)
    with ledger.read() as connection:
        return [AuditEntry(**row) for row in connection.execute(query).mappings()]


def verify_entries(ledger: Ledger) -> ChainCheck:
    """Verify the chain from its first entry to its newest, and that the kept head is in it."""
    try:
        head = read_head(ledger.keys)
    except ValueError:
        return ChainCheck(0, "", 0, f"{HEAD_FILE} in {ledger.keys} is damaged")
    return _CHAIN.verify(ledger, head=head)


def has_entry(connection: sa.Connection, actor: str, action: str, resource: str) -> bool:
    """Whether the log contains this entry. For gates that don't trust a single row."""
    is_it = (
        (audit_entries.c.actor == actor) & (audit_entries.c.action == action) & (audit_entries.c.resource == resource)
    )
    return any(True for _ in iterate_authentic(connection, is_it))


def find_newest_resource(connection: sa.Connection, actor: str, action: str) -> str | None:
    """Resource of the newest entry with this actor and action."""
    newest = iterate_authentic(connection, (audit_entries.c.actor == actor) & (audit_entries.c.action == action))
    return next((entry.resource for entry in newest), None)


def iterate_authentic(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Iterator[AuditEntry]:
    """The entries that meet the condition and that this installation wrote, newest first."""
    query = sa.select(audit_entries).where(condition).order_by(audit_entries.c.position.desc())
    for row in connection.execute(query).mappings():
        if _CHAIN.is_authentic(connection, row):
            yield AuditEntry(**row)


def hash_entry(key: bytes, position: int, at: datetime, actor: str, action: str, resource: str, previous: str) -> str:
    """`key`: the ledger's key."""
    line = {"at": at, "actor": actor, "action": action, "resource": resource}
    return _CHAIN.hash_entry(Seals(key).chain, position, previous, line)
