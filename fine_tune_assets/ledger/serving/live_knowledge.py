"""Which knowledge index answers. Rows are only added: the newest one of a format is live, and the others tell what was.

Owns making one live, behind its evidence: figures that are absent or below their floor keep it out. `served_knowledge` writes,
the gateway reads.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, reading, select_fields
from fine_tune_assets.ledger.schema import live_knowledge as table


@dataclass(frozen=True)
class LiveIndex:
    index_fingerprint: str
    format_fingerprint: str
    store: str
    chunks: int
    evidence: str
    """The figures that let it through, as JSON."""
    made_live_by: str
    made_live_at: datetime


def make_knowledge_live(
    ledger: Ledger, *, index_fingerprint: str, format_fingerprint: str, store: str, chunks: int, is_passed: bool | None,
    evidence: Mapping[str, Any], by: str,
) -> LiveIndex:  # fmt: skip
    """Answer from this index from now on; nothing changes if it is live. Raises GateClosedError unless it passed."""
    if is_passed is not True:
        raise GateClosedError(
            f"Knowledge index {index_fingerprint[:16]} did not pass its checks, or nobody measured it: it does not become live."
        )
    with ledger.begin() as connection:
        live = live_knowledge(connection, format_fingerprint)
        if live is not None and live.index_fingerprint == index_fingerprint:
            return live
        figures = json.dumps(dict(evidence), sort_keys=True)
        found = LiveIndex(index_fingerprint, format_fingerprint, store, chunks, figures, by, datetime.now(UTC))
        connection.execute(table.insert().values(**vars(found)))
        audit.append(connection, by, "made knowledge live", index_fingerprint)
        return found


def live_knowledge(target: Ledger | sa.Connection, format_fingerprint: str) -> LiveIndex | None:
    query = select_fields(table, LiveIndex).where(table.c.format_fingerprint == format_fingerprint)
    with reading(target) as connection:
        row = connection.execute(query.order_by(table.c.sequence.desc()).limit(1)).mappings().first()
    return None if row is None else LiveIndex(**row)


def format_of_knowledge(ledger: Ledger, index_fingerprint: str) -> str | None:
    """Format of an index that answered at any time; None for one that never did."""
    query = sa.select(table.c.format_fingerprint).where(table.c.index_fingerprint == index_fingerprint).limit(1)
    with ledger.read() as connection:
        return connection.execute(query).scalar()


def kept_knowledge(ledger: Ledger, keep_last: int) -> list[str]:
    """Fingerprints of the indexes that answered last, and of the live one of every format; the newest first."""
    with ledger.read() as connection:
        newest = sa.select(table.c.index_fingerprint, table.c.format_fingerprint).order_by(table.c.sequence.desc())
        rows = connection.execute(newest).all()
    live = {kind: fingerprint for fingerprint, kind in reversed(rows)}
    in_order = list(dict.fromkeys(fingerprint for fingerprint, _ in rows))
    return list(dict.fromkeys([*in_order[:keep_last], *live.values()]))
