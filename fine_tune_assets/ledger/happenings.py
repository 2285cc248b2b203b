"""What happened lately that people may want to be told of: verdicts that stop a candidate, and releases left by themselves."""

from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.deployments import BY_HAND
from fine_tune_assets.ledger.schema import deployments, verdicts


def stopped_candidates(ledger: Ledger, since: datetime) -> list[tuple[str, str]]:
    """Decision (`hold`, `refuse`) and verdict id, in the order in which they were recorded."""
    query = sa.select(verdicts.c.decision, verdicts.c.verdict_id).where(
        verdicts.c.decision.in_(("hold", "refuse")), verdicts.c.recorded_at >= since
    )
    with ledger.read() as connection:
        return [(row.decision, row.verdict_id) for row in connection.execute(query.order_by(verdicts.c.sequence))]


def left_by_themselves(ledger: Ledger, since: datetime) -> list[str]:
    """Ids of the deployments that users were taken from without anybody's hand."""
    query = sa.select(deployments.c.deployment_id).where(
        deployments.c.rollback_reason != BY_HAND, deployments.c.changed_at >= since
    )
    with ledger.read() as connection:
        return list(connection.execute(query.order_by(deployments.c.sequence)).scalars())
