"""Stores proposals: imported decisions that approve and reject nothing until their person signs them on the desk.

Output and reason are kept only until the proposal is signed or withdrawn. `approval` decides whether it can be signed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, read_transaction
from fine_tune_assets.ledger.ledger_tables import proposals
from fine_tune_assets.ledger.reviews.review_rows import find_spellings

_CLEARED = {"output": None, "reason": ""}


@dataclass(frozen=True)
class Proposal:
    proposed: Decision
    """With the id of the proposal, and the time that the file states."""
    reason: str
    file_id: str
    place: str
    imported_by: str
    imported_at: datetime
    signed_id: str | None = None
    """The decision that its person signed."""
    withdrawn_by: str | None = None
    withdrawn_at: datetime | None = None

    @property
    def proposal_id(self) -> str:
        return self.proposed.decision_id


@dataclass(frozen=True)
class ProposalFile:
    """What waits for one person's signature from one file."""

    file_id: str
    reviewer: str
    imported_by: str
    imported_at: datetime
    waiting: int


def add_proposal(connection: sa.Connection, proposal: Proposal) -> None:
    """Store a proposal in the caller's transaction."""
    row = {**vars(proposal.proposed), **vars(proposal)}
    del row["decision_id"], row["proposed"]
    connection.execute(proposals.insert().values(**row, proposal_id=proposal.proposal_id))
    about = f"proposal {proposal.proposal_id} for {proposal.proposed.reviewer}"
    audit.append(connection, proposal.imported_by, "imported a proposal", about)


def find_proposal(connection: sa.Connection, proposal_id: str) -> Proposal | None:
    found = _select(connection, proposals.c.proposal_id == proposal_id)
    return found[0] if found else None


def list_waiting(
    target: Ledger | sa.Connection, reviewer: str | None = None, file_id: str | None = None
) -> list[Proposal]:
    """The proposals that wait for a signature, of this person under any spelling, or of all; in order."""
    with read_transaction(target) as connection:
        conditions = [_IS_WAITING]
        if reviewer is not None:
            conditions.append(_is_of(connection, reviewer))
        if file_id is not None:
            conditions.append(proposals.c.file_id == file_id)
        return _select(connection, *conditions)


def has_waiting(connection: sa.Connection, reviewer: str, fingerprint: str, role: str) -> bool:
    """Whether a proposal of this person about this content already waits."""
    same = (proposals.c.fingerprint == fingerprint, proposals.c.role == role)
    query = sa.select(proposals.c.reviewer).where(_IS_WAITING, *same)
    return any(is_same_person(name, reviewer) for name in connection.execute(query).scalars())


def list_files(target: Ledger | sa.Connection, reviewer: str | None = None) -> list[ProposalFile]:
    """Files with waiting proposals, oldest first: a row for each person; with `reviewer`, only theirs."""
    columns = (proposals.c.file_id, proposals.c.reviewer)
    totals = (sa.func.min(proposals.c.imported_by), sa.func.min(proposals.c.imported_at), sa.func.count())
    with read_transaction(target) as connection:
        query = sa.select(*columns, *totals).where(_IS_WAITING)
        if reviewer is not None:
            query = query.where(_is_of(connection, reviewer))
        query = query.group_by(*columns).order_by(sa.func.min(proposals.c.sequence))
        return [ProposalFile(*row) for row in connection.execute(query)]


def count_waiting(ledger: Ledger, reviewer: str) -> int:
    return sum(file.waiting for file in list_files(ledger, reviewer))


def mark_signed(connection: sa.Connection, proposal: Proposal, decision_id: str) -> None:
    _change(connection, [proposal.proposal_id], signed_id=decision_id, **_CLEARED)
    about = f"proposal {proposal.proposal_id} as decision {decision_id}"
    audit.append(connection, proposal.proposed.reviewer, "signed a proposal", about)


def withdraw_proposals(connection: sa.Connection, found: Sequence[Proposal], by: str, now: datetime) -> None:
    """Withdraw waiting proposals."""
    for proposal in found:
        _change(connection, [proposal.proposal_id], withdrawn_by=by, withdrawn_at=now, **_CLEARED)
        audit.append(connection, by, "withdrew a proposal", f"proposal {proposal.proposal_id}")


_IS_WAITING = sa.and_(proposals.c.signed_id.is_(None), proposals.c.withdrawn_at.is_(None))


def _is_of(connection: sa.Connection, reviewer: str) -> sa.ColumnElement[bool]:
    return proposals.c.reviewer.in_(find_spellings(connection, proposals.c.reviewer, reviewer))


def _change(connection: sa.Connection, proposal_ids: Collection[str], **values: object) -> None:
    connection.execute(proposals.update().where(proposals.c.proposal_id.in_(proposal_ids)).values(**values))


def _select(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[Proposal]:
    query = sa.select(proposals).where(*conditions).order_by(proposals.c.sequence)
    return [_make_proposal(row) for row in connection.execute(query).mappings()]


def _make_proposal(row: sa.RowMapping) -> Proposal:
    names = (name for name in Decision.__dataclass_fields__ if name != "decision_id")
    proposed = Decision(decision_id=row["proposal_id"], **{name: row[name] for name in names})
    beside = (name for name in Proposal.__dataclass_fields__ if name != "proposed")
    return Proposal(proposed, **{name: row[name] for name in beside})
