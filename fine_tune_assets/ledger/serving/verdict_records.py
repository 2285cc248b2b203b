"""Verdicts with what became of them, for pages: when each was recorded, who signed it, and whether it still decides.

Reads only; what opens the gate is `verdicts`'. A page of verdicts is asked for at once, with one look at the audit log.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.core.records import CANDIDATE_KEY, Verdict
from fine_tune_assets.ledger.database import Ledger, newest_first
from fine_tune_assets.ledger.schema import audit_lines, signatures, verdicts
from fine_tune_assets.ledger.serving.verdicts import SIGNED, is_whole, verdict_from


@dataclass(frozen=True)
class Signature:
    approver: str
    reason: str
    signed_at: datetime
    counts: bool
    """False if the audit log has no line of it: somebody added it by hand."""


@dataclass(frozen=True)
class VerdictLine:
    """A verdict in a list."""

    sequence: int
    verdict_id: str
    decision: str
    adapter_id: str
    recorded_at: datetime
    is_newest: bool
    """On its candidate: the one that decides."""
    signers: tuple[str, ...]


@dataclass(frozen=True)
class VerdictRecord:
    verdict: Verdict
    recorded_at: datetime
    is_newest: bool
    is_whole: bool
    """Whether it still says what its id stands for."""
    signatures: tuple[Signature, ...]

    @property
    def is_signed(self) -> bool:
        return any(signature.counts for signature in self.signatures)


def verdict_lines(ledger: Ledger, *, before: int | None, limit: int) -> list[VerdictLine]:
    """At most `limit`, the newest first; only older ones than the sequence `before`, if it is given."""
    plain = ("sequence", "verdict_id", "decision", "adapter_id", "recorded_at")
    query = sa.select(*(verdicts.c[name] for name in plain), _is_newest())
    with ledger.read() as connection:
        page = newest_first(query, verdicts.c.sequence, before, limit)
        rows = connection.execute(page).mappings().all()
        signed = _signatures(connection, {row["verdict_id"] for row in rows})
    return [
        VerdictLine(**row, signers=tuple(s.approver for s in signed.get(row["verdict_id"], ()) if s.counts))
        for row in rows
    ]


def find_verdict(ledger: Ledger, verdict_id: str) -> VerdictRecord | None:
    """As it was recorded last: the same verdict may come again after another one."""
    query = sa.select(verdicts, _is_newest()).where(verdicts.c.verdict_id == verdict_id)
    with ledger.read() as connection:
        row = connection.execute(query.order_by(verdicts.c.sequence.desc()).limit(1)).mappings().first()
        if row is None:
            return None
        signed = _signatures(connection, {verdict_id}).get(verdict_id, ())
    verdict = verdict_from(row)
    return VerdictRecord(verdict, row["recorded_at"], row["is_newest"], is_whole(verdict), tuple(signed))


def _is_newest() -> sa.Label[bool]:
    later = verdicts.alias("later")
    same = (later.c[name] == verdicts.c[name] for name in CANDIDATE_KEY)
    return (~sa.exists().where(*same, later.c.sequence > verdicts.c.sequence)).label("is_newest")


def _signatures(connection: sa.Connection, verdict_ids: Collection[str]) -> dict[str, list[Signature]]:
    query = sa.select(signatures).where(signatures.c.verdict_id.in_(verdict_ids)).order_by(signatures.c.sequence)
    rows = connection.execute(query).mappings().all()
    if not rows:
        return {}
    # The audit log is read as a whole, so for all at once.
    lines = sa.select(audit_lines.c.who, audit_lines.c.about).where(
        audit_lines.c.what == SIGNED, audit_lines.c.about.in_(verdict_ids)
    )
    logged = {tuple(line) for line in connection.execute(lines)}
    found: dict[str, list[Signature]] = {}
    for row in rows:
        counts = (row["approver"], row["verdict_id"]) in logged
        signature = Signature(row["approver"], row["reason"], row["signed_at"], counts)
        found.setdefault(row["verdict_id"], []).append(signature)
    return found
