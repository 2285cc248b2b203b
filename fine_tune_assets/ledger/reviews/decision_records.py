"""Stores experts' decisions on drafted examples, and the repaired outputs that they wrote.

Rows are only added: to change their mind, reviewers decide again, and a revocation is a separate row. Queries for active
decisions exclude revoked ones, and imported ones that lapsed because no one signed them.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.people import person_key
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import (
    Ledger,
    page_newest_first,
    read_transaction,
    select_fields,
    split_into_chunks,
)
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import decisions, review_items, revocations
from fine_tune_assets.ledger.reviews.review_rows import find_spellings
from fine_tune_assets.ledger.seals import select_sealed_records

_WITH_REVOCATIONS = decisions.outerjoin(revocations, revocations.c.decision_id == decisions.c.decision_id)
OUTCOMES: Mapping[str, sa.ColumnElement[bool]] = {
    "approved": sa.and_(decisions.c.decision == "approve", decisions.c.output.is_(None)),
    "repaired": decisions.c.output.is_not(None),
    "rejected": decisions.c.decision == "reject",
    "revoked": revocations.c.decision_id.is_not(None),
}
"""Filter value → condition for decisions with their revocations."""
_MAX_COUNTS_CHARACTERS = 270
"""So that it fits into the column of the audit log, after an example id."""
_IS_ACTIVE = decisions.c.decision_id.not_in(sa.select(revocations.c.decision_id))


@dataclass(frozen=True)
class DecisionRecord:
    """A decision with its reason and its revocation, if any."""

    decision: Decision
    reason: str
    revoked_by: str | None
    revoked_at: datetime | None
    revocation_reason: str | None

    @property
    def is_revoked(self) -> bool:
        return self.revoked_at is not None


@dataclass(frozen=True)
class DecisionSummary:
    """What one person decided about one content: enough to compare two reviewers, and fast to read."""

    fingerprint: str
    task: str
    reviewer: str
    decision: str
    is_repaired: bool
    role: str
    decided_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True)
class ReviewerDecision:
    """A decision in the reviewer's own history."""

    sequence: int
    record: DecisionRecord


@dataclass(frozen=True)
class DecisionFilter:
    outcome: str | None = None
    """One of `OUTCOMES`."""
    decided_from: datetime | None = None
    decided_before: datetime | None = None


@dataclass(frozen=True)
class Repair:
    """An output that a reviewer wrote to replace a drafted one."""

    example_id: str
    subject_key: str
    output: str


def add_decision(
    connection: sa.Connection, decision: Decision, reason: str, acknowledged_kinds: Sequence[str] = ()
) -> None:
    """Store a decision in the caller's transaction. Raises LedgerError if it is inconsistent.

    `acknowledged_kinds` are the kinds of the flags that the reviewer acknowledged, one for each flag; the audit log counts them.
    """
    if decision.decision not in ("approve", "reject"):
        raise LedgerError(f"The decision on example {decision.example_id} must be approve or reject.")
    if decision.decision == "reject" and decision.output is not None:
        raise LedgerError(f"Example {decision.example_id} can't be both rejected and repaired.")
    if decision.output is not None and decision.approved_fingerprint is None:
        raise LedgerError(f"The repair of example {decision.example_id} lacks the fingerprint of the signed text.")
    if not decision.reviewer.strip():
        raise LedgerError(f"The decision on example {decision.example_id} lacks the reviewer's name.")
    connection.execute(decisions.insert().values(**vars(decision), reason=reason))
    verb = "decided" if decision.role == "review" else "adjudicated"
    about = f"example {decision.example_id}{_count_kinds(acknowledged_kinds)}"
    audit.append(connection, decision.reviewer, f"{verb} {decision.decision}", about)


def _count_kinds(kinds: Sequence[str]) -> str:
    """Such as `; 3 flags acknowledged: date not in input 1, number not in input 2`."""
    if not kinds:
        return ""
    counted = ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(kinds).items()))
    return f"; {len(kinds)} flag{'s' if len(kinds) > 1 else ''} acknowledged: {counted}"[:_MAX_COUNTS_CHARACTERS]


def revoke_decision(connection: sa.Connection, decision_id: str, by: str, reason: str, now: datetime) -> Decision:
    """Revoke a decision by any reviewer; its row stays. Raises UnknownRecordError, LedgerError."""
    found = find_decision(connection, decision_id)
    if found is None:
        raise UnknownRecordError(
            f"Unknown decision {decision_id}. To list decisions: `fine-tune review show EXAMPLE_ID`"
        )
    if found.is_revoked:
        raise LedgerError(f"{found.revoked_by} already revoked decision {decision_id}.")
    if not by.strip() or not reason.strip():
        raise LedgerError(f"Revoking decision {decision_id} needs a name and a reason.")
    row = {"decision_id": decision_id, "revoked_by": by.strip(), "reason": reason.strip(), "revoked_at": now}
    connection.execute(revocations.insert().values(row))
    audit.append(connection, by.strip(), "revoked a decision", f"decision {decision_id}")
    return found.decision


def find_decision(connection: sa.Connection, decision_id: str) -> DecisionRecord | None:
    found = _select_records(connection, decisions.c.decision_id == decision_id)
    return found[0] if found else None


def list_decisions(target: Ledger | sa.Connection) -> list[Decision]:
    """Every active decision, in the order they were made."""
    return _select_active(target, sa.true())


def list_decided_contents(
    target: Ledger | sa.Connection, decision_ids: Collection[str] | None = None
) -> dict[str, str]:
    """Decision id → fingerprint of the decided content, including revoked decisions; all decisions if no ids are given."""
    query = sa.select(decisions.c.decision_id, decisions.c.fingerprint)
    if decision_ids is not None:
        query = query.where(decisions.c.decision_id.in_(decision_ids))
    with read_transaction(target) as connection:
        return {row.decision_id: row.fingerprint for row in connection.execute(query)}


def list_decisions_about(
    connection: sa.Connection, fingerprints: Collection[str], report_ids: Collection[str] = ()
) -> list[Decision]:
    """Active decisions about these contents or about drafts of these reports, in order."""
    about = sa.or_(decisions.c.fingerprint.in_(fingerprints), decisions.c.report_id.in_(report_ids))
    return _select_active(connection, about)


def list_decision_records(target: Ledger | sa.Connection, fingerprint: str | None = None) -> list[DecisionRecord]:
    """Every decision including revoked ones, in order; with `fingerprint`, only those about that content."""
    return _select_records(target, sa.true() if fingerprint is None else decisions.c.fingerprint == fingerprint)


def list_shared_decisions(ledger: Ledger) -> list[DecisionSummary]:
    """Decisions on contents that were decided more than once, including revoked ones, in order of time."""
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
        return [DecisionSummary(*row) for row in rows]


def list_reviewer_decisions(
    ledger: Ledger, reviewer: str, filter: DecisionFilter, *, before: int | None, limit: int
) -> list[ReviewerDecision]:
    """A page of the reviewer's decisions under any spelling of the name, newest first.

    With `before`, only decisions with a lower sequence.
    """
    query = _select_record_columns().add_columns(decisions.c.sequence).select_from(_WITH_REVOCATIONS)
    if filter.outcome is not None:
        query = query.where(OUTCOMES[filter.outcome])
    if filter.decided_from is not None:
        query = query.where(decisions.c.decided_at >= filter.decided_from)
    if filter.decided_before is not None:
        query = query.where(decisions.c.decided_at < filter.decided_before)
    with ledger.read() as connection:
        theirs = decisions.c.reviewer.in_(find_spellings(connection, decisions.c.reviewer, reviewer))
        page = page_newest_first(query.where(theirs), decisions.c.sequence, before, limit)
        return [ReviewerDecision(row[-1], _make_record(row)) for row in connection.execute(page)]


def list_newest_records(ledger: Ledger, limit: int) -> list[DecisionRecord]:
    """The newest decisions of all reviewers, including revoked ones; newest first."""
    query = _select_record_columns().select_from(_WITH_REVOCATIONS)
    with ledger.read() as connection:
        page = page_newest_first(query, decisions.c.sequence, None, limit)
        return [_make_record(row) for row in connection.execute(page)]


def list_decision_times(ledger: Ledger, reviewer: str, limit: int) -> list[datetime]:
    """Times of the reviewer's newest active decisions, newest first."""
    with ledger.read() as connection:
        theirs = decisions.c.reviewer.in_(find_spellings(connection, decisions.c.reviewer, reviewer))
        query = sa.select(decisions.c.decided_at).where(theirs, _IS_ACTIVE)
        return list(connection.execute(page_newest_first(query, decisions.c.sequence, None, limit)).scalars())


def list_active_repairs(ledger: Ledger, subject_keys: Collection[str]) -> list[Repair]:
    """Repairs that are still active in items of these subjects, whichever example they were written for."""
    query = (
        sa.select(review_items.c.example_id, review_items.c.subject_key, decisions.c.output)
        .join(decisions, decisions.c.fingerprint == review_items.c.fingerprint)
        .where(decisions.c.output.is_not(None), _IS_ACTIVE)
    )
    found = list[Repair]()
    with ledger.read() as connection:
        for part in split_into_chunks(subject_keys):
            found += [Repair(*row) for row in connection.execute(query.where(review_items.c.subject_key.in_(part)))]
    return found


def find_revoked_reviewers(
    connection: sa.Connection, fingerprints: Collection[str] | None = None
) -> dict[str, set[str]]:
    """Content → keys of the people whose decision about it was revoked; all contents if no ids are given."""
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
    """Changes with every decision and every revocation."""
    with ledger.read() as connection:
        decision_ids = (
            connection.execute(sa.select(decisions.c.decision_id).order_by(decisions.c.sequence)).scalars().all()
        )
        gone = connection.execute(sa.select(revocations.c.decision_id).order_by(revocations.c.sequence)).scalars().all()
    return combine([*decision_ids, *(f"revoked {decision_id}" for decision_id in gone)])


def _select_active(target: Ledger | sa.Connection, where: sa.ColumnElement[bool]) -> list[Decision]:
    query = sa.select(decisions).where(where, _IS_ACTIVE).order_by(decisions.c.sequence)
    with read_transaction(target) as connection:
        return select_sealed_records(connection, query, Decision)


def _select_records(target: Ledger | sa.Connection, where: sa.ColumnElement[bool]) -> list[DecisionRecord]:
    query = _select_record_columns().select_from(_WITH_REVOCATIONS).where(where)
    with read_transaction(target) as connection:
        return [_make_record(row) for row in connection.execute(query.order_by(decisions.c.sequence))]


def _select_record_columns() -> sa.Select[Any]:
    beside = (decisions.c.reason, revocations.c.revoked_by, revocations.c.revoked_at, revocations.c.reason)
    return select_fields(decisions, Decision).add_columns(*beside)


def _make_record(row: sa.Row[Any]) -> DecisionRecord:
    width, total = len(Decision.__dataclass_fields__), len(DecisionRecord.__dataclass_fields__)
    return DecisionRecord(Decision(*row[:width]), *row[width : width + total - 1])
