"""Stores approvers' decisions on quarantined corrections.

Rows are only added: the latest decision about a correction and its scrubbed texts counts. Authors can't decide on their own
corrections.
"""

import uuid
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.shared_records import QuarantineDecision
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, OwnCorrectionError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import corrections, quarantine_decisions
from fine_tune_assets.ledger.seals import select_sealed_records

MEANINGS = {
    "accept": "I read the question, the answer, the correction and the quarantine reasons; it may be reviewed.",
    "reject": "I read the question, the answer, the correction and the quarantine reasons; it must not be trained on.",
}
"""Declaration that the approver signs, by outcome."""
MAX_REASON_CHARACTERS = 2000


def record_quarantine_decision(
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
    """Store a decision and return its id. Raises LedgerError if it is invalid, OwnCorrectionError for the author."""
    if outcome not in MEANINGS:
        raise LedgerError(f"The outcome for correction {correction_id} must be accept or reject.")
    if not person.strip() or not reason.strip():
        raise LedgerError(f"Deciding on correction {correction_id} needs a name and a reason.")
    if len(reason) > MAX_REASON_CHARACTERS or "\0" in reason:
        raise LedgerError(
            f"The reason must have at most {MAX_REASON_CHARACTERS} characters and no NUL character. "
            "Nothing was recorded."
        )
    decision = QuarantineDecision(
        uuid.uuid4().hex, correction_id, fingerprint, outcome, reasons, person.strip(), reason.strip(), now
    )
    with ledger.begin() as connection:
        author = connection.execute(
            sa.select(corrections.c.author).where(corrections.c.correction_id == correction_id)
        ).scalar_one_or_none()
        if author is None:
            raise UnknownRecordError(f"Unknown correction {correction_id}.")
        if is_same_person(author, person):
            raise OwnCorrectionError(f"You sent correction {correction_id}. Another approver has to decide.")
        row = {**vars(decision), "meaning": MEANINGS[outcome]}
        connection.execute(quarantine_decisions.insert().values(row))
        verb = "accepted a correction from quarantine" if outcome == "accept" else "rejected a correction in quarantine"
        audit.append(connection, decision.person, verb, f"correction {correction_id}")
    return decision.decision_id


def list_quarantine_decisions(ledger: Ledger) -> list[QuarantineDecision]:
    """Every decision, in the order they were made."""
    query = sa.select(quarantine_decisions).order_by(quarantine_decisions.c.sequence)
    with ledger.read() as connection:
        return select_sealed_records(connection, query, QuarantineDecision)


def quarantine_decisions_fingerprint(ledger: Ledger) -> str:
    """Changes with every decision."""
    query = sa.select(quarantine_decisions.c.decision_id).order_by(quarantine_decisions.c.sequence)
    with ledger.read() as connection:
        return combine(connection.execute(query).scalars())
