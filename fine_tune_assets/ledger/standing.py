"""Which decisions still stand, and whose reports were erased. Owns these two questions; what follows from them is others'."""

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import decisions, erasures, revocations


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
