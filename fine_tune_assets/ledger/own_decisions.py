"""What one person decided, for their own eyes: a page at a time, the newest first. Owns no rows; see `reviews`."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import decisions, revocations
from fine_tune_assets.ledger.spellings import spellings_of


@dataclass(frozen=True)
class OwnDecision:
    sequence: int
    decision_id: str
    example_id: str
    task: str | None
    decision: str
    role: str
    is_repaired: bool
    reason_code: str
    decided_at: datetime
    revoked_at: datetime | None


def own_decisions(ledger: Ledger, reviewer: str, *, before: int | None, limit: int) -> list[OwnDecision]:
    """Those of `reviewer`, however the name was written; only older ones than the sequence `before`, if it is given."""
    joined = decisions.outerjoin(revocations, revocations.c.decision_id == decisions.c.decision_id)
    plain = (c for c in OwnDecision.__dataclass_fields__ if c not in ("is_repaired", "revoked_at"))
    query = (
        sa.select(
            *(decisions.c[name] for name in plain),
            decisions.c.output.is_not(None).label("is_repaired"),
            revocations.c.revoked_at,
        )
        .select_from(joined)
        .order_by(decisions.c.sequence.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(decisions.c.sequence < before)
    with ledger.read() as connection:
        query = query.where(decisions.c.reviewer.in_(spellings_of(connection, decisions.c.reviewer, reviewer)))
        return [OwnDecision(**row) for row in connection.execute(query).mappings()]
