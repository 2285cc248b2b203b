"""Counts the ledger's records of each kind for the overview of the stages."""

from dataclasses import dataclass

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import corrections, deployments, releases, review_items, verdicts
from fine_tune_assets.ledger.reviews.review_rows import OPEN_STATES


@dataclass(frozen=True)
class LedgerCounts:
    open_reviews: int
    """Drafts that wait for a reviewer or an approver."""
    verdicts: int
    releases: int
    """Releases whose folder still exists."""
    served_releases: int
    """Releases that have served users at any time."""
    corrections: int


def count_records(ledger: Ledger) -> LedgerCounts:
    is_open = review_items.c.state.in_(OPEN_STATES) & review_items.c.removed_at.is_(None)
    served = sa.select(sa.func.count(deployments.c.release_id.distinct())).where(deployments.c.live_since.is_not(None))
    queries = {
        "open_reviews": sa.select(sa.func.count()).select_from(review_items).where(is_open),
        "verdicts": sa.select(sa.func.count()).select_from(verdicts),
        "releases": sa.select(sa.func.count()).select_from(releases).where(releases.c.removed_at.is_(None)),
        "served_releases": served,
        "corrections": sa.select(sa.func.count()).select_from(corrections),
    }
    with ledger.read() as connection:
        return LedgerCounts(**{name: int(connection.execute(query).scalar_one()) for name, query in queries.items()})
