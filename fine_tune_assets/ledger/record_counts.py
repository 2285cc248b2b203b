"""Counts the ledger's records for the home page."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import corrections, review_items
from fine_tune_assets.ledger.reviews.review_rows import OPEN_STATES


@dataclass(frozen=True)
class LedgerCounts:
    open_reviews: int
    """Drafts that wait for a reviewer or an approver."""
    disagreements: int
    """Included in `open_reviews`."""
    flagged_trusted: int
    """Drafts of trusted sources that count as approved despite their flags."""
    corrections: int
    new_corrections: int
    """Received since the last training."""
    last_correction_at: datetime | None


def count_records(ledger: Ledger, since: datetime | None) -> LedgerCounts:
    """`since`: time of the last training; None if there was none."""
    present = review_items.c.removed_at.is_(None)
    states = sa.select(review_items.c.state, sa.func.count()).where(present, review_items.c.state.in_(OPEN_STATES))
    is_flagged = present & (review_items.c.state == "trusted") & (review_items.c.flag_count > 0)
    flagged = sa.select(sa.func.count()).select_from(review_items).where(is_flagged)
    received = corrections.c.received_at
    new = sa.select(sa.func.count()).select_from(corrections)
    totals = sa.select(sa.func.count(), sa.func.max(received)).select_from(corrections)
    with ledger.read() as connection:
        by_state = {state: int(number) for state, number in connection.execute(states.group_by(review_items.c.state))}
        total, last = connection.execute(totals).one()
        return LedgerCounts(
            sum(by_state.values()),
            by_state.get("disagreement", 0),
            int(connection.execute(flagged).scalar_one()),
            total,
            total if since is None else int(connection.execute(new.where(received > since)).scalar_one()),
            last,
        )
