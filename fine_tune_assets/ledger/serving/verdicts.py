"""Verdicts on candidates, and the gate that reads them.

Owns storing verdicts and approvers' signatures, and the one question that merging, releasing and serving ask: may
exactly this be promoted? The newest verdict on the same fingerprints counts, as long as what it was compared with still
serves; a refusal can't be signed away.
"""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.missing_grades import why_unsignable
from fine_tune_assets.core.records import CANDIDATE_KEY, Verdict
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, reading
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.schema import signatures, verdicts
from fine_tune_assets.ledger.serving.switch_log import serving_adapter

DECISIONS = ("promote", "hold", "refuse")
JUDGE = "promotion_verdicts"
SIGNED = "signed hold"
"""What the audit log calls an approver's signature."""


def verdict_id_of(**said: Any) -> str:
    """The id of a verdict: the fingerprint of every other field of `Verdict`. Changing any of them changes it."""
    return short(fingerprint_json(said))


def is_whole(verdict: Verdict) -> bool:
    """Whether it still says what its id stands for."""
    said = {name: value for name, value in vars(verdict).items() if name != "verdict_id"}
    return verdict_id_of(**said) == verdict.verdict_id


def record_verdict(ledger: Ledger, verdict: Verdict) -> None:
    """Keep a verdict. Recording the newest one again changes nothing. Raises LedgerError if its id is not its own."""
    if verdict.decision not in DECISIONS or not is_whole(verdict):
        raise LedgerError(f"Verdict {verdict.verdict_id} does not carry its own fingerprint. Use verdict_id_of().")
    row = {**vars(verdict), "reasons": json.dumps(list(verdict.reasons)), "recorded_at": datetime.now(UTC)}
    with ledger.begin() as connection:
        newest = latest_verdict(connection, **_fingerprints(verdict))
        if newest is None or newest.verdict_id != verdict.verdict_id:
            connection.execute(verdicts.insert().values(**row))
            audit.append(connection, JUDGE, f"recorded verdict {verdict.decision}", verdict.verdict_id)


def sign_hold(ledger: Ledger, verdict_id: str, approver: str, reason: str) -> None:
    """An approver takes the responsibility for a candidate that is on hold.

    Raises UnknownRecordError, LedgerError for a second signature of the same approver, or GateClosedError when the verdict
    is not `hold` (a refusal can't be signed), not the newest on its candidate, or one that more grades are missing from than
    the recipe allows: an approver may weigh evidence, and here is none.
    """
    if not approver.strip() or not reason.strip():
        raise LedgerError(f"Signing verdict {verdict_id} needs an approver's name and a reason.")
    with ledger.begin() as connection:
        row = connection.execute(sa.select(verdicts).where(verdicts.c.verdict_id == verdict_id)).mappings().first()
        if row is None:
            raise UnknownRecordError(f"There is no verdict {verdict_id}.")
        verdict = verdict_from(row)
        if verdict.decision != "hold" or not is_whole(verdict):
            raise GateClosedError(
                f"Verdict {verdict_id} is {verdict.decision}: only an unchanged `hold` can be signed."
            )
        if why := why_unsignable(verdict.evidence):
            raise GateClosedError(f"Verdict {verdict_id} can't be signed. {why}")
        newest = latest_verdict(connection, **_fingerprints(verdict))
        if newest is None or newest.verdict_id != verdict_id:
            raise GateClosedError(
                f"Verdict {verdict_id} is not the newest on its candidate: it decides nothing any more."
            )
        if approver.strip() in signers_of(connection, verdict_id):
            raise LedgerError(f"{approver.strip()} has signed verdict {verdict_id} already.")
        connection.execute(
            signatures.insert().values(
                verdict_id=verdict_id, approver=approver.strip(), reason=reason, signed_at=datetime.now(UTC)
            )
        )
        audit.append(connection, approver.strip(), SIGNED, verdict_id)


def list_verdicts(ledger: Ledger, limit: int) -> list[Verdict]:
    """At most `limit` verdicts, the newest first."""
    query = sa.select(verdicts).order_by(verdicts.c.sequence.desc()).limit(limit)
    with ledger.read() as connection:
        return [verdict_from(row) for row in connection.execute(query).mappings()]


def signers_of(target: Ledger | sa.Connection, verdict_id: str) -> list[str]:
    """The approvers whose signature on a verdict counts: one without its line in the audit log was added by hand."""
    query = sa.select(signatures.c.approver).where(signatures.c.verdict_id == verdict_id)
    with reading(target) as connection:
        approvers = connection.execute(query).scalars().all()
        return [who for who in approvers if audit.has_line(connection, who, SIGNED, verdict_id)]


def signatures_fingerprint(ledger: Ledger) -> str:
    """Changes with every signature."""
    query = sa.select(signatures.c.verdict_id, signatures.c.approver).order_by(signatures.c.sequence)
    with ledger.read() as connection:
        return fingerprint_json([list(row) for row in connection.execute(query)])


def latest_verdict(
    target: Ledger | sa.Connection, *, adapter_id: str, base_fingerprint: str, instruction_set_fingerprint: str
) -> Verdict | None:
    """The newest verdict on exactly these fingerprints, whatever it says."""
    query = sa.select(verdicts).where(
        verdicts.c.adapter_id == adapter_id,
        verdicts.c.base_fingerprint == base_fingerprint,
        verdicts.c.instruction_set_fingerprint == instruction_set_fingerprint,
    )
    with reading(target) as connection:
        row = connection.execute(query.order_by(verdicts.c.sequence.desc()).limit(1)).mappings().first()
    return None if row is None else verdict_from(row)


def require_promotion(
    target: Ledger | sa.Connection,
    *,
    adapter_id: str,
    base_fingerprint: str,
    instruction_set_fingerprint: str,
    has_served: bool = False,
) -> Verdict:
    """The verdict that lets exactly this candidate through. Raises GateClosedError with what is missing.

    `has_served`: users go back to what served them before. It need not be better than what serves now, which failed them.
    """
    with reading(target) as connection:
        verdict = latest_verdict(
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
        if not is_whole(verdict):
            raise GateClosedError(
                f"Verdict {verdict.verdict_id} on adapter {adapter_id} was changed after it was recorded. "
                f"Find out who changed the ledger. {materialize_hint('promotion_verdicts')}"
            )
        is_signed_hold = verdict.decision == "hold" and bool(signers_of(connection, verdict.verdict_id))
        if verdict.decision != "promote" and not is_signed_hold:
            raise GateClosedError(_closed_message(verdict))
        serving = serving_adapter(connection) or base_fingerprint
        if not has_served and serving not in (verdict.incumbent, adapter_id):
            raise GateClosedError(
                f"Verdict {verdict.verdict_id} compared adapter {adapter_id} with {verdict.incumbent}, and {serving} serves "
                f"now. {materialize_hint('judge_scores', 'promotion_verdicts')}"
            )
        return verdict


def _closed_message(verdict: Verdict) -> str:
    reasons = " ".join(verdict.reasons) or "No reason was recorded."
    if verdict.decision == "hold" and why_unsignable(verdict.evidence):
        step = "Add the evidence it lacks: without it nobody can sign."
    elif verdict.decision == "hold":
        step = f"Add the evidence it lacks, or let an approver sign it: `fine-tune verdicts sign {verdict.verdict_id}`"
    else:
        step = "Train a better adapter: a refusal can't be signed."
    return (
        f"Verdict {verdict.verdict_id} on adapter {verdict.adapter_id} is {verdict.decision}"
        f"{' and nobody signed it' if verdict.decision == 'hold' else ''}. {reasons} {step}"
    )


def verdict_from(row: Any) -> Verdict:
    """A verdict from a row of its table."""
    values = {name: row[name] for name in Verdict.__dataclass_fields__}
    return Verdict(**{**values, "reasons": tuple(json.loads(row["reasons"]))})


def _fingerprints(verdict: Verdict) -> dict[str, str]:
    return {name: getattr(verdict, name) for name in CANDIDATE_KEY}
