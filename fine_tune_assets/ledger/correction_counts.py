"""What is counted of corrections and answers by release. Needs no key: no text is read."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.ledger.carried_passages import CarriedDocument, documents_of
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.outcomes import KEPT_DAYS
from fine_tune_assets.ledger.schema import corrections, deployment_outcomes, deployments


@dataclass(frozen=True)
class CorrectionFacts:
    """A correction without its texts."""

    correction_id: str
    release_id: str
    error_kind: str | None
    severity: str | None
    seconds_spent: int | None


@dataclass(frozen=True)
class SentCorrection:
    """Who sent a correction, when, and about which release's answer."""

    release_id: str
    author: str
    received_at: datetime
    knowledge_index: str | None
    """None where the answer was given from no passage."""
    documents: tuple[CarriedDocument, ...]
    """The passages that it was given from."""


def find_correction(ledger: Ledger, correction_id: str) -> SentCorrection | None:
    names = ("release_id", "author", "received_at", "knowledge_index", "passages")
    columns = [corrections.c[name] for name in names]
    with ledger.read() as connection:
        row = connection.execute(sa.select(*columns).where(corrections.c.correction_id == correction_id)).first()
    if row is None:
        return None
    documents = documents_of(row.passages)
    return SentCorrection(row.release_id, row.author, row.received_at, row.knowledge_index, documents)


def correction_facts(ledger: Ledger) -> list[CorrectionFacts]:
    """Of every correction, in the order of arrival."""
    columns = [corrections.c[name] for name in CorrectionFacts.__dataclass_fields__]
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*columns).order_by(corrections.c.sequence)).mappings()
        return [CorrectionFacts(**row) for row in rows]


def answered_by_release(ledger: Ledger, now: datetime) -> dict[str, int]:
    """Release → answers that it gave, where all of them are still counted: a release that served before that is absent."""
    since = now - timedelta(days=KEPT_DAYS)
    is_older = deployments.c.live_since.is_not(None) & (deployments.c.live_since < since)
    older = sa.select(deployments.c.release_id).where(is_older)
    query = (
        sa.select(deployments.c.release_id, sa.func.sum(deployment_outcomes.c.answered))
        .join(deployments, deployments.c.deployment_id == deployment_outcomes.c.deployment_id)
        .where(deployments.c.release_id.not_in(older))
        .group_by(deployments.c.release_id)
    )
    with ledger.read() as connection:
        return {release_id: int(count) for release_id, count in connection.execute(query)}
