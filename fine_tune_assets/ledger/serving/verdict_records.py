"""Lists verdicts with their signatures and whether they still decide, for pages. Read-only.

Loads the signatures of a whole page with one query of the audit log.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.core.shared_records import CANDIDATE_KEY, Verdict
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, page_newest_first
from fine_tune_assets.ledger.ledger_tables import audit_entries, signatures, verdicts
from fine_tune_assets.ledger.serving.verdicts import SIGNED_HOLD, is_intact, verdict_from_row


@dataclass(frozen=True)
class Signature:
    approver: str
    reason: str
    signed_at: datetime
    is_valid: bool
    """False if the audit log has no entry for it: the row was added by hand."""


@dataclass(frozen=True)
class VerdictSummary:
    sequence: int
    verdict_id: str
    decision: str
    adapter_id: str
    recorded_at: datetime
    is_newest: bool
    """Whether it is the newest on its candidate, the one that decides."""
    signers: tuple[str, ...]


@dataclass(frozen=True)
class VerdictRecord:
    verdict: Verdict
    recorded_at: datetime
    is_newest: bool
    is_intact: bool
    """Whether its content still matches its id."""
    signatures: tuple[Signature, ...]

    @property
    def is_signed(self) -> bool:
        return any(signature.is_valid for signature in self.signatures)


def list_verdict_summaries(ledger: Ledger, *, before: int | None, limit: int) -> list[VerdictSummary]:
    """At most `limit` verdicts, newest first; with `before`, only those with a lower sequence."""
    plain = ("sequence", "verdict_id", "decision", "adapter_id", "recorded_at")
    query = sa.select(*(verdicts.c[name] for name in plain), _is_newest())
    with ledger.read() as connection:
        page = page_newest_first(query, verdicts.c.sequence, before, limit)
        rows = connection.execute(page).mappings().all()
        signatures_by_verdict = _read_signatures(connection, {row["verdict_id"] for row in rows})
    return [
        VerdictSummary(
            **row, signers=tuple(s.approver for s in signatures_by_verdict.get(row["verdict_id"], ()) if s.is_valid)
        )
        for row in rows
    ]


def find_verdict(ledger: Ledger, verdict_id: str) -> VerdictRecord | None:
    """The latest recording of the verdict: a verdict can be recorded again after another one."""
    query = sa.select(verdicts, _is_newest()).where(verdicts.c.verdict_id == verdict_id)
    with ledger.read() as connection:
        row = connection.execute(query.order_by(verdicts.c.sequence.desc()).limit(1)).mappings().first()
        if row is None:
            return None
        signed = _read_signatures(connection, {verdict_id}).get(verdict_id, ())
    verdict = verdict_from_row(row)
    return VerdictRecord(verdict, row["recorded_at"], row["is_newest"], is_intact(verdict), tuple(signed))


def _is_newest() -> sa.Label[bool]:
    later = verdicts.alias("later")
    same = (later.c[name] == verdicts.c[name] for name in CANDIDATE_KEY)
    return (~sa.exists().where(*same, later.c.sequence > verdicts.c.sequence)).label("is_newest")


def _read_signatures(connection: sa.Connection, verdict_ids: Collection[str]) -> dict[str, list[Signature]]:
    query = sa.select(signatures).where(signatures.c.verdict_id.in_(verdict_ids)).order_by(signatures.c.sequence)
    rows = connection.execute(query).mappings().all()
    if not rows:
        return {}
    # Each query scans the whole audit log, so query once for all verdicts.
    is_signature = (audit_entries.c.action == SIGNED_HOLD) & audit_entries.c.resource.in_(verdict_ids)
    logged = {(entry.actor, entry.resource) for entry in audit.iterate_authentic(connection, is_signature)}
    found: dict[str, list[Signature]] = {}
    for row in rows:
        is_valid = (row["approver"], row["verdict_id"]) in logged
        signature = Signature(row["approver"], row["reason"], row["signed_at"], is_valid)
        found.setdefault(row["verdict_id"], []).append(signature)
    return found
