"""Stores verdicts and approvers' signatures, and decides whether exactly this candidate may be promoted.

The newest verdict on the same fingerprints counts, as long as the incumbent it was compared with is still in production. A
refusal can't be overridden by signature.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.missing_grades import explain_unsignable
from fine_tune_assets.core.shared_records import CANDIDATE_KEY, Verdict
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, read_transaction
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import signatures, verdicts
from fine_tune_assets.ledger.seals import select_sealed
from fine_tune_assets.ledger.serving.switch_log import find_production_adapter

DECISIONS = ("promote", "hold", "refuse")
RECORDED_BY = "promotion_verdicts"
SIGNED_HOLD = "signed hold"
"""Audit log action of an approver's signature."""


def compute_verdict_id(**fields: Any) -> str:
    """The verdict's id: the fingerprint of all its other fields."""
    return short(fingerprint_json(fields))


def is_intact(verdict: Verdict) -> bool:
    """Whether the verdict's content still matches its id."""
    fields = {name: value for name, value in vars(verdict).items() if name != "verdict_id"}
    return compute_verdict_id(**fields) == verdict.verdict_id


def record_verdict(ledger: Ledger, verdict: Verdict) -> None:
    """Store a verdict; does nothing if it is already the newest. Raises LedgerError if its id does not match its content."""
    if verdict.decision not in DECISIONS or not is_intact(verdict):
        raise LedgerError(
            f"The id of verdict {verdict.verdict_id} does not match its content. Compute it with compute_verdict_id()."
        )
    row = {**vars(verdict), "reasons": json.dumps(list(verdict.reasons)), "recorded_at": datetime.now(UTC)}
    with ledger.begin() as connection:
        newest = find_latest_verdict(connection, **_fingerprints(verdict))
        if newest is None or newest.verdict_id != verdict.verdict_id:
            connection.execute(verdicts.insert().values(**row))
            audit.append(connection, RECORDED_BY, f"recorded verdict {verdict.decision}", verdict.verdict_id)


def sign_hold(ledger: Ledger, verdict_id: str, approver: str, reason: str) -> None:
    """Sign a hold: the approver takes responsibility for the candidate.

    Raises UnknownRecordError, LedgerError for a second signature of the same approver, or GateClosedError if the verdict is not
    `hold` (a refusal can't be signed), is not the newest on its candidate, or lacks more grades than the recipe allows: an
    approver may weigh evidence, but not replace it.
    """
    if not approver.strip() or not reason.strip():
        raise LedgerError(f"Signing verdict {verdict_id} needs the approver's name and a reason.")
    with ledger.begin() as connection:
        row = connection.execute(sa.select(verdicts).where(verdicts.c.verdict_id == verdict_id)).mappings().first()
        if row is None:
            raise UnknownRecordError(f"There is no verdict {verdict_id}. `fine-tune verdicts list` shows them.")
        verdict = verdict_from_row(row)
        if verdict.decision != "hold" or not is_intact(verdict):
            raise GateClosedError(f"Verdict {verdict_id} is {verdict.decision}. Only an unchanged hold can be signed.")
        if why := explain_unsignable(verdict.evidence):
            raise GateClosedError(f"Verdict {verdict_id} can't be signed. {why}")
        newest = find_latest_verdict(connection, **_fingerprints(verdict))
        if newest is None or newest.verdict_id != verdict_id:
            raise GateClosedError(f"Verdict {verdict_id} is not the newest on its candidate, so it no longer decides.")
        if approver.strip() in list_signers(connection, verdict_id):
            raise LedgerError(f"{approver.strip()} already signed verdict {verdict_id}.")
        connection.execute(
            signatures.insert().values(
                verdict_id=verdict_id, approver=approver.strip(), reason=reason, signed_at=datetime.now(UTC)
            )
        )
        audit.append(connection, approver.strip(), SIGNED_HOLD, verdict_id)


def list_verdicts(ledger: Ledger, limit: int) -> list[Verdict]:
    """At most `limit` verdicts, newest first."""
    query = sa.select(verdicts).order_by(verdicts.c.sequence.desc()).limit(limit)
    with ledger.read() as connection:
        return [verdict_from_row(row) for row in connection.execute(query).mappings()]


@dataclass(frozen=True)
class AskedTest:
    """The test behind one verdict."""

    adapter_id: str
    incumbent: str
    scores: str
    """Fingerprint of the grades."""
    recorded_at: datetime
    example_ids: tuple[str, ...]


def list_asked_tests(ledger: Ledger) -> list[AskedTest]:
    """One per verdict, oldest first. Verdicts of versions that did not record their examples have none. Raises SealError."""
    names = ("adapter_id", "incumbent", "evidence", "recorded_at")
    with ledger.read() as connection:
        rows = select_sealed(connection, sa.select(verdicts).order_by(verdicts.c.sequence))
    return [_asked_test(*(row[name] for name in names)) for row in rows]


def _asked_test(adapter_id: str, incumbent: str, evidence: str, recorded_at: datetime) -> AskedTest:
    values = json.loads(evidence)
    scores = values.get("fingerprints", {}).get("judge_scores", "")
    return AskedTest(adapter_id, incumbent, scores, recorded_at, tuple(values.get("test_uses", {})))


def list_signers(target: Ledger | sa.Connection, verdict_id: str) -> list[str]:
    """Approvers with a valid signature: one without an entry in the audit log was added by hand and does not count."""
    query = sa.select(signatures).where(signatures.c.verdict_id == verdict_id)
    with read_transaction(target) as connection:
        approvers = [row["approver"] for row in select_sealed(connection, query)]
        return [who for who in approvers if audit.has_entry(connection, who, SIGNED_HOLD, verdict_id)]


def signatures_fingerprint(ledger: Ledger) -> str:
    """Changes with every signature."""
    query = sa.select(signatures.c.verdict_id, signatures.c.approver).order_by(signatures.c.sequence)
    with ledger.read() as connection:
        return fingerprint_json([list(row) for row in connection.execute(query)])


def find_latest_verdict(
    target: Ledger | sa.Connection, *, adapter_id: str, base_fingerprint: str, instruction_set_fingerprint: str
) -> Verdict | None:
    """The newest verdict on exactly these fingerprints, whatever its decision."""
    query = sa.select(verdicts).where(
        verdicts.c.adapter_id == adapter_id,
        verdicts.c.base_fingerprint == base_fingerprint,
        verdicts.c.instruction_set_fingerprint == instruction_set_fingerprint,
    )
    with read_transaction(target) as connection:
        rows = select_sealed(connection, query.order_by(verdicts.c.sequence.desc()).limit(1))
    return verdict_from_row(rows[0]) if rows else None


def require_promotion(
    target: Ledger | sa.Connection,
    *,
    adapter_id: str,
    base_fingerprint: str,
    instruction_set_fingerprint: str,
    is_rollback: bool = False,
) -> Verdict:
    """The verdict that allows exactly this candidate. Raises GateClosedError with what is missing.

    `is_rollback`: the candidate served users before, and need not be better than the production model that failed them.
    """
    with read_transaction(target) as connection:
        verdict = find_latest_verdict(
            connection,
            adapter_id=adapter_id,
            base_fingerprint=base_fingerprint,
            instruction_set_fingerprint=instruction_set_fingerprint,
        )
        if verdict is None:
            raise GateClosedError(
                f"Adapter {adapter_id} has no verdict for this base model and instruction set. "
                f"{materialize_hint('promotion_verdicts')}"
            )
        if not is_intact(verdict):
            raise GateClosedError(
                f"Verdict {verdict.verdict_id} on adapter {adapter_id} was changed after it was recorded. Find out "
                f"who changed the ledger. {materialize_hint('promotion_verdicts')}"
            )
        is_signed_hold = verdict.decision == "hold" and bool(list_signers(connection, verdict.verdict_id))
        if verdict.decision != "promote" and not is_signed_hold:
            raise GateClosedError(_closed_message(verdict))
        serving = find_production_adapter(connection) or base_fingerprint
        if not is_rollback and serving not in (verdict.incumbent, adapter_id):
            raise GateClosedError(
                f"Verdict {verdict.verdict_id} compared adapter {adapter_id} with {verdict.incumbent}, but the "
                f"production model is now {serving}. {materialize_hint('judge_scores', 'promotion_verdicts')}"
            )
        return verdict


def _closed_message(verdict: Verdict) -> str:
    reasons = " ".join(verdict.reasons) or "No reason was recorded."
    if verdict.decision == "hold" and explain_unsignable(verdict.evidence):
        step = "Add the missing evidence: without it the hold can't be signed."
    elif verdict.decision == "hold":
        step = "Add the missing evidence, or have an approver sign it on the desk."
    else:
        step = "Train a better adapter: a refusal can't be signed."
    return (
        f"Verdict {verdict.verdict_id} on adapter {verdict.adapter_id} is "
        f"{verdict.decision}{', unsigned' if verdict.decision == 'hold' else ''}. {reasons} {step}"
    )


def verdict_from_row(row: Any) -> Verdict:
    values = {name: row[name] for name in Verdict.__dataclass_fields__}
    return Verdict(**{**values, "reasons": tuple(json.loads(row["reasons"]))})


def _fingerprints(verdict: Verdict) -> dict[str, str]:
    return {name: getattr(verdict, name) for name in CANDIDATE_KEY}
