"""Which outputs that reviewers typed still stand. Owns this question; what follows from it is others'."""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import decisions, review_items, revocations

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
