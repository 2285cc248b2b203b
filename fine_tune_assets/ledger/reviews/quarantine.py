"""What approvers decide about corrections in quarantine. Owns storing it, and that nobody decides about their own.

Rows are only ever added: the last one about a correction and its scrubbed texts counts.
"""

import uuid
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.records import QuarantineDecision
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, select_fields
from fine_tune_assets.ledger.errors import LedgerError, OwnCorrectionError, UnknownRecordError
from fine_tune_assets.ledger.schema import corrections, quarantine_decisions

MEANINGS = {
    "let_through": "I read question, answer and correction, and why it was kept apart; it may be reviewed like any other.",
    "reject": "I read question, answer and correction, and why it was kept apart; it must not be learned from.",
}
"""What a signature declares, by outcome."""
LONGEST_REASON = 2000
"""Characters."""


def decide_quarantined(
    ledger: Ledger,
    *,
    correction_id: str,
    fingerprint: str,
    outcome: str,
    reasons: str,
    person: str,
    reason: str,
    now: datetime,
) -> str:
    """Keep a decision and return its id. Raises LedgerError where it makes no sense, OwnCorrectionError for the author."""
    if outcome not in MEANINGS:
        raise LedgerError(f"Let correction {correction_id} through, or reject it.")
    if not person.strip() or not reason.strip():
        raise LedgerError(f"To decide about correction {correction_id}, say who does it and why.")
    if len(reason) > LONGEST_REASON or "\0" in reason:
        raise LedgerError(f"A reason is a text of at most {LONGEST_REASON} characters. Nothing was recorded.")
    decision = QuarantineDecision(
        uuid.uuid4().hex, correction_id, fingerprint, outcome, reasons, person.strip(), reason.strip(), now
    )
    with ledger.begin() as connection:
        author = connection.execute(
            sa.select(corrections.c.author).where(corrections.c.correction_id == correction_id)
        ).scalar_one_or_none()
        if author is None:
            raise UnknownRecordError(f"There is no correction {correction_id}.")
        if is_same_person(author, person):
            raise OwnCorrectionError(f"You sent correction {correction_id}. Somebody else has to decide.")
        row = {**vars(decision), "meaning": MEANINGS[outcome]}
        connection.execute(quarantine_decisions.insert().values(row))
        verb = (
            "let a correction out of quarantine" if outcome == "let_through" else "rejected a correction in quarantine"
        )
        audit.append(connection, decision.person, verb, f"correction {correction_id}")
    return decision.decision_id


def list_quarantine_decisions(ledger: Ledger) -> list[QuarantineDecision]:
    """Every decision, in the order in which they were made."""
    query = select_fields(quarantine_decisions, QuarantineDecision).order_by(quarantine_decisions.c.sequence)
    with ledger.read() as connection:
        return [QuarantineDecision(**row) for row in connection.execute(query).mappings()]


def quarantine_decisions_fingerprint(ledger: Ledger) -> str:
    """Changes with every decision."""
    query = sa.select(quarantine_decisions.c.decision_id).order_by(quarantine_decisions.c.sequence)
    with ledger.read() as connection:
        return combine(connection.execute(query).scalars())
