"""Lists verdicts and releases by the candidate that they are about, without evidence or reasons."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import releases, verdicts


@dataclass(frozen=True)
class CandidateRecord:
    """A verdict, or a release that it allowed."""

    adapter_id: str
    base_fingerprint: str
    instruction_set_fingerprint: str
    verdict_id: str
    recorded_at: datetime
    release_id: str | None = None
    """None for a verdict."""


_SHARED = ("adapter_id", "base_fingerprint", "instruction_set_fingerprint", "verdict_id", "recorded_at")


def count_candidate_records(ledger: Ledger) -> tuple[int, int]:
    """Sequence number of the newest verdict, and number of releases. Neither ever decreases."""
    newest = sa.select(sa.func.coalesce(sa.func.max(verdicts.c.sequence), 0)).scalar_subquery()
    count = sa.select(sa.func.count()).select_from(releases).scalar_subquery()
    with ledger.read() as connection:
        row = connection.execute(sa.select(newest, count)).one()
    return row[0], row[1]


def list_candidate_records(ledger: Ledger) -> list[CandidateRecord]:
    """Every verdict and release, oldest first."""
    of_verdicts = sa.select(*(verdicts.c[name] for name in _SHARED)).order_by(verdicts.c.sequence)
    of_releases = sa.select(*(releases.c[name] for name in (*_SHARED, "release_id"))).order_by(releases.c.release_id)
    with ledger.read() as connection:
        rows = [*connection.execute(of_verdicts), *connection.execute(of_releases)]
    return sorted((CandidateRecord(*row) for row in rows), key=lambda record: record.recorded_at)
