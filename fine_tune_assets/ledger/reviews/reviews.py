"""Decisions of experts about drafted examples, and the outputs that they typed in the place of drafted ones.

Owns storing decisions and their order; what follows from them is approval's.

Rows are only ever added: whoever changes their mind decides again, and what was wrong is revoked by a row of its own. A
revoked decision is never handed out as one that counts.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.people import person_key
from fine_tune_assets.core.records import Decision
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, in_parts, newest_first, reading, select_fields
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.reviews.review_rows import spellings_of
from fine_tune_assets.ledger.schema import decisions, review_items, revocations

_WITH_REVOCATIONS = decisions.outerjoin(revocations, revocations.c.decision_id == decisions.c.decision_id)
_STANDS = decisions.c.decision_id.not_in(sa.select(revocations.c.decision_id))


@dataclass(frozen=True)
class DecisionRecord:
    """A decision with all that was written down about it, revoked or not."""

    decision: Decision
    reason: str
    revoked_by: str | None
    revoked_at: datetime | None
    revoked_because: str | None

    @property
    def is_revoked(self) -> bool:
        return self.revoked_at is not None


@dataclass(frozen=True)
class ReviewWord:
    """What one person said of one content: enough to compare two people, and quick to read."""

    fingerprint: str
    task: str
    reviewer: str
    decision: str
    is_repaired: bool
    role: str
    said_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True)
class OwnDecision:
    """What one person decided, for their own eyes."""

    sequence: int
    decision_id: str
    example_id: str
    task: str | None
    decision: str
    role: str
    is_repaired: bool
    reason_code: str
    decided_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True)
class Repair:
    """A text that a reviewer typed in the place of a drafted output."""

    example_id: str
    patient_key: str
    output: str


def add_decision(connection: sa.Connection, kept: Decision, reason: str) -> None:
    """Keep a decision, in a transaction of the caller's. Raises LedgerError if it makes no sense."""
    if kept.decision not in ("approve", "reject"):
        raise LedgerError(f"A decision on example {kept.example_id} must be approve or reject.")
    if kept.decision == "reject" and kept.output is not None:
        raise LedgerError(f"Example {kept.example_id} can't be rejected and repaired at once.")
    if kept.output is not None and kept.approved_fingerprint is None:
        raise LedgerError(f"The repair of example {kept.example_id} must say which text was signed.")
    if not kept.reviewer.strip():
        raise LedgerError(f"A decision on example {kept.example_id} needs the reviewer's name.")
    connection.execute(decisions.insert().values(**vars(kept), reason=reason))
    verb = "decided" if kept.role == "review" else "adjudicated"
    audit.append(connection, kept.reviewer, f"{verb} {kept.decision}", f"example {kept.example_id}")


def revoke_decision(connection: sa.Connection, decision_id: str, by: str, reason: str, now: datetime) -> Decision:
    """Take a decision back, whoever made it; it stays as a row. Raises UnknownRecordError, LedgerError."""
    found = find_decision(connection, decision_id)
    if found is None:
        raise UnknownRecordError(f"There is no decision {decision_id}. `fine-tune review show EXAMPLE_ID` lists them.")
    if found.is_revoked:
        raise LedgerError(f"Decision {decision_id} was revoked by {found.revoked_by} already.")
    if not by.strip() or not reason.strip():
        raise LedgerError(f"To revoke decision {decision_id}, say who does it and why.")
    row = {"decision_id": decision_id, "revoked_by": by.strip(), "reason": reason.strip(), "revoked_at": now}
    connection.execute(revocations.insert().values(row))
    audit.append(connection, by.strip(), "revoked a decision", f"decision {decision_id}")
    return found.decision


def find_decision(connection: sa.Connection, decision_id: str) -> DecisionRecord | None:
    found = _records(connection, decisions.c.decision_id == decision_id)
    return found[0] if found else None


def list_decisions(target: Ledger | sa.Connection) -> list[Decision]:
    """Every decision that was not revoked, in the order in which they were made."""
    return _standing(target, sa.true())


def decided_contents(target: Ledger | sa.Connection, decision_ids: Collection[str] | None = None) -> dict[str, str]:
    """Decision id → fingerprint of the content that it is about, revoked ones too; of every decision, if none are named."""
    query = sa.select(decisions.c.decision_id, decisions.c.fingerprint)
    if decision_ids is not None:
        query = query.where(decisions.c.decision_id.in_(decision_ids))
    with reading(target) as connection:
        return {row.decision_id: row.fingerprint for row in connection.execute(query)}


def decisions_about(
    connection: sa.Connection, fingerprints: Collection[str], report_ids: Collection[str] = ()
) -> list[Decision]:
    """Decisions that were not revoked about these contents, or about drafts of these reports, in their order."""
    about = sa.or_(decisions.c.fingerprint.in_(fingerprints), decisions.c.report_id.in_(report_ids))
    return _standing(connection, about)


def list_records(target: Ledger | sa.Connection, fingerprint: str | None = None) -> list[DecisionRecord]:
    """Every decision, revoked ones too, in their order; of one content, if it is named."""
    return _records(target, sa.true() if fingerprint is None else decisions.c.fingerprint == fingerprint)


def words_on_shared_contents(ledger: Ledger) -> list[ReviewWord]:
    """What was said of contents that were decided on more than once, in the order of time; also what was revoked."""
    shared = sa.select(decisions.c.fingerprint).group_by(decisions.c.fingerprint).having(sa.func.count() > 1)
    columns = (
        decisions.c.fingerprint,
        sa.func.coalesce(decisions.c.task, ""),
        decisions.c.reviewer,
        decisions.c.decision,
        decisions.c.output.is_not(None),
        decisions.c.role,
        decisions.c.decided_at,
        revocations.c.revoked_at,
    )
    query = sa.select(*columns).select_from(_WITH_REVOCATIONS).where(decisions.c.fingerprint.in_(shared))
    with ledger.read() as connection:
        rows = connection.execute(query.order_by(decisions.c.decided_at, decisions.c.sequence))
        return [ReviewWord(*row) for row in rows]


def own_decisions(ledger: Ledger, reviewer: str, *, before: int | None, limit: int) -> list[OwnDecision]:
    """A page of the decisions of `reviewer`, however the name was written, the newest first.

    Only older ones than the sequence `before`, if it is given.
    """
    plain = (c for c in OwnDecision.__dataclass_fields__ if c not in ("is_repaired", "revoked_at"))
    query = sa.select(
        *(decisions.c[name] for name in plain),
        decisions.c.output.is_not(None).label("is_repaired"),
        revocations.c.revoked_at,
    ).select_from(_WITH_REVOCATIONS)
    with ledger.read() as connection:
        theirs = decisions.c.reviewer.in_(spellings_of(connection, decisions.c.reviewer, reviewer))
        page = newest_first(query.where(theirs), decisions.c.sequence, before, limit)
        return [OwnDecision(**row) for row in connection.execute(page).mappings()]


def standing_repairs(ledger: Ledger, patients: Collection[str]) -> list[Repair]:
    """What stands of repaired outputs in the items of these patients, whichever example they were typed for."""
    query = (
        sa.select(review_items.c.example_id, review_items.c.patient_key, decisions.c.output)
        .join(decisions, decisions.c.fingerprint == review_items.c.fingerprint)
        .where(decisions.c.output.is_not(None), _STANDS)
    )
    found = list[Repair]()
    with ledger.read() as connection:
        for part in in_parts(patients):
            found += [Repair(*row) for row in connection.execute(query.where(review_items.c.patient_key.in_(part)))]
    return found


def revoked_reviewers(connection: sa.Connection, fingerprints: Collection[str] | None = None) -> dict[str, set[str]]:
    """Content → keys of those whose decision about it was revoked; of all contents, if none are named."""
    query = sa.select(decisions.c.fingerprint, decisions.c.reviewer).join(
        revocations, revocations.c.decision_id == decisions.c.decision_id
    )
    if fingerprints is not None:
        query = query.where(decisions.c.fingerprint.in_(fingerprints))
    found: dict[str, set[str]] = {}
    for fingerprint, reviewer in connection.execute(query):
        found.setdefault(fingerprint, set()).add(person_key(reviewer))
    return found


def decisions_fingerprint(ledger: Ledger) -> str:
    """Changes with every decision and every revocation; the same for the same ones."""
    with ledger.read() as connection:
        made = connection.execute(sa.select(decisions.c.decision_id).order_by(decisions.c.sequence)).scalars().all()
        gone = connection.execute(sa.select(revocations.c.decision_id).order_by(revocations.c.sequence)).scalars().all()
    return combine([*made, *(f"revoked {decision_id}" for decision_id in gone)])


def _standing(target: Ledger | sa.Connection, where: sa.ColumnElement[bool]) -> list[Decision]:
    query = select_fields(decisions, Decision).where(where, _STANDS).order_by(decisions.c.sequence)
    with reading(target) as connection:
        return [Decision(**row) for row in connection.execute(query).mappings()]


def _records(target: Ledger | sa.Connection, where: sa.ColumnElement[bool]) -> list[DecisionRecord]:
    width = len(Decision.__dataclass_fields__)
    beside = (decisions.c.reason, revocations.c.revoked_by, revocations.c.revoked_at, revocations.c.reason)
    query = select_fields(decisions, Decision).add_columns(*beside).select_from(_WITH_REVOCATIONS).where(where)
    with reading(target) as connection:
        rows = connection.execute(query.order_by(decisions.c.sequence))
        return [DecisionRecord(Decision(*row[:width]), *row[width:]) for row in rows]
