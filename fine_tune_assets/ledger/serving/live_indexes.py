"""Records which knowledge index is live: the newest row of each format. Rows are only added.

An index goes live only if its metrics exist and meet their floors. `served_knowledge` writes, the gateway reads.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, read_transaction
from fine_tune_assets.ledger.ledger_tables import live_indexes as table
from fine_tune_assets.ledger.seals import select_sealed_records


@dataclass(frozen=True)
class LiveIndex:
    index_fingerprint: str
    format_fingerprint: str
    store: str
    chunks: int
    evidence: str
    """The metrics that passed the gate, as JSON."""
    activated_by: str
    activated_at: datetime


def activate_index(
    ledger: Ledger, *, index_fingerprint: str, format_fingerprint: str, store: str, chunks: int, is_passed: bool | None,
    evidence: Mapping[str, Any], by: str,
) -> LiveIndex:  # fmt: skip
    """Make an index live; does nothing if it already is. Raises GateClosedError unless it passed its checks."""
    if is_passed is not True:
        raise GateClosedError(
            f"Knowledge index {index_fingerprint[:16]} failed its checks or was not measured, so it does not go live."
        )
    with ledger.begin() as connection:
        live = find_live_index(connection, format_fingerprint)
        if live is not None and live.index_fingerprint == index_fingerprint:
            return live
        figures = json.dumps(dict(evidence), sort_keys=True)
        found = LiveIndex(index_fingerprint, format_fingerprint, store, chunks, figures, by, datetime.now(UTC))
        connection.execute(table.insert().values(**vars(found)))
        audit.append(connection, by, "activated knowledge index", index_fingerprint)
        return found


def find_live_index(target: Ledger | sa.Connection, format_fingerprint: str) -> LiveIndex | None:
    query = sa.select(table).where(table.c.format_fingerprint == format_fingerprint)
    with read_transaction(target) as connection:
        newest = query.order_by(table.c.sequence.desc()).limit(1)
        return next(iter(select_sealed_records(connection, newest, LiveIndex)), None)


def find_index_format(ledger: Ledger, index_fingerprint: str) -> str | None:
    """Format of an index that was live at any time; None if it never was."""
    query = sa.select(table.c.format_fingerprint).where(table.c.index_fingerprint == index_fingerprint).limit(1)
    with ledger.read() as connection:
        return connection.execute(query).scalar()


def list_retained_indexes(ledger: Ledger, keep_last: int) -> list[str]:
    """Fingerprints of the most recently live indexes and of the live index of every format, newest first."""
    with ledger.read() as connection:
        newest = sa.select(table.c.index_fingerprint, table.c.format_fingerprint).order_by(table.c.sequence.desc())
        rows = connection.execute(newest).all()
    live = {kind: fingerprint for fingerprint, kind in reversed(rows)}
    in_order = list(dict.fromkeys(fingerprint for fingerprint, _ in rows))
    return list(dict.fromkeys([*in_order[:keep_last], *live.values()]))
