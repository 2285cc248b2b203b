"""What is counted of corrections and answers by release. Needs no key: no text is read."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.ledger.carried_passages import CarriedDocument, documents_of
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.request_audit import is_cut
from fine_tune_assets.ledger.schema import corrections, deployments, request_lines

ANSWERING = ("/v1/chat/completions", "/v1/completions")
"""Routes whose answers are a release's."""


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


def answered_by_release(ledger: Ledger) -> dict[str, int]:
    """Release → whole answers that it gave users, by the log of requests.

    A release is absent that was wanted before the oldest line that is kept: some of its answers may have been cut off.
    """
    columns = request_lines.c
    is_answer = columns.route.in_(ANSWERING) & (columns.status == 200) & columns.code.is_(None)
    query = sa.select(columns.release_id, sa.func.count()).where(is_answer, columns.release_id.is_not(None))
    with ledger.read() as connection:
        counted = {name: int(count) for name, count in connection.execute(query.group_by(columns.release_id))}
        if not is_cut(connection):
            return counted
        oldest = connection.execute(sa.select(sa.func.min(columns.at))).scalar()
        older = set(
            connection.execute(sa.select(deployments.c.release_id).where(deployments.c.wanted_at < oldest)).scalars()
        )
    return {name: count for name, count in counted.items() if name not in older}
