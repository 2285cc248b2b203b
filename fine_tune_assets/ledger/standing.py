"""Which decisions still stand, and whose reports were erased. Owns these questions; what follows from them is others'."""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import decisions, erasures, review_items, revocations

_ASKED_AT_ONCE = 500
"""SQLite takes a limited number of values in one statement."""


@dataclass(frozen=True)
class Repair:
    """A text that a reviewer typed in the place of a drafted output."""

    example_id: str
    patient_key: str
    output: str


def standing_repairs(ledger: Ledger, patients: Collection[str]) -> list[Repair]:
    """What stands of repaired outputs in the items of these patients, whichever example they were typed for."""
    is_revoked = sa.exists().where(revocations.c.decision_id == decisions.c.decision_id)
    query = (
        sa.select(review_items.c.example_id, review_items.c.patient_key, decisions.c.output)
        .join(decisions, decisions.c.fingerprint == review_items.c.fingerprint)
        .where(decisions.c.output.is_not(None), ~is_revoked)
    )
    ordered, found = sorted(patients), list[Repair]()
    if not ordered:
        return []
    with ledger.read() as connection:
        for start in range(0, len(ordered), _ASKED_AT_ONCE):
            asked = query.where(review_items.c.patient_key.in_(ordered[start : start + _ASKED_AT_ONCE]))
            found += [Repair(*row) for row in connection.execute(asked)]
    return found


def standing_approvals(ledger: Ledger) -> frozenset[str]:
    """Ids of approvals that nobody revoked, and after which nobody rejected the same draft."""
    later = decisions.alias()
    is_revoked = sa.exists().where(revocations.c.decision_id == decisions.c.decision_id)
    is_overruled = sa.exists().where(
        later.c.example_id == decisions.c.example_id,
        later.c.sequence > decisions.c.sequence,
        later.c.decision == "reject",
        ~sa.exists().where(revocations.c.decision_id == later.c.decision_id),
    )
    query = sa.select(decisions.c.decision_id).where(decisions.c.decision == "approve", ~is_revoked, ~is_overruled)
    with ledger.read() as connection:
        return frozenset(connection.execute(query).scalars())


def erased_patients(ledger: Ledger) -> frozenset[str]:
    """Keys of the patients whose reports were erased: nothing of them may come back."""
    with ledger.read() as connection:
        return frozenset(connection.execute(sa.select(erasures.c.patient_key)).scalars())
