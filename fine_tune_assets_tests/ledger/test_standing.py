"""Which approvals still stand: what may be learned again is asked of the ledger."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import erasures, revocations
from fine_tune_assets.ledger.standing import erased_patients, standing_approvals
from fine_tune_assets_tests.ledger.made import record_decision


def _decide(ledger: Ledger, example: str, **changes: Any) -> str:
    fields: dict[str, Any] = {
        "example_id": example, "fingerprint": "f", "report_id": "b/1", "task": "plan", "decision": "approve",
        "output": None, "reviewer": "reviewer one",
    }  # fmt: skip
    return record_decision(ledger, **(fields | changes)).decision_id


def _revoke(ledger: Ledger, decision_id: str) -> None:
    row = {"decision_id": decision_id, "revoked_by": "a", "reason": "r", "revoked_at": datetime.now(UTC)}
    with ledger.begin() as connection:
        connection.execute(sa.insert(revocations).values(row))


def test_an_approval_stands_until_it_is_revoked_or_overruled(ledger: Ledger) -> None:
    """Two approvals of one example both stand; a rejection of another example touches neither."""
    first, second = _decide(ledger, "e1"), _decide(ledger, "e1", reviewer="reviewer two")
    revoked, overruled, after = _decide(ledger, "e2"), _decide(ledger, "e3"), _decide(ledger, "e4", decision="reject")
    again = _decide(ledger, "e4")
    assert standing_approvals(ledger) == {first, second, revoked, overruled, again}
    _revoke(ledger, revoked)
    rejection = _decide(ledger, "e3", decision="reject")
    assert standing_approvals(ledger) == {first, second, again}
    _revoke(ledger, rejection)
    assert standing_approvals(ledger) == {first, second, again, overruled}
    assert after not in standing_approvals(ledger)


def test_an_erased_patient_is_known_by_the_key(ledger: Ledger) -> None:
    """Nothing of them may come back by a way that forgot to ask."""
    assert erased_patients(ledger) == frozenset()
    row = {"erasure_id": "x", "patient_key": "p1", "erased_by": "a", "reason": "r", "erased_at": datetime.now(UTC)}
    with ledger.begin() as connection:
        connection.execute(sa.insert(erasures).values({**row, "removed": "{}"}))
    assert erased_patients(ledger) == {"p1"}
