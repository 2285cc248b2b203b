from datetime import UTC, datetime
from typing import Any

import pytest

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.reviews.decision_records import (
    DecisionSummary,
    decisions_fingerprint,
    find_revoked_reviewers,
    list_decisions,
    list_shared_decisions,
    revoke_decision,
)
from fine_tune_assets_tests.ledger.ledger_rows import record_decision

REPAIRED = "Zebrafinch: the repaired output."


def test_decisions_round_trip_in_order(ledger: Ledger) -> None:
    """The later decision on an example counts, so the order is part of the record."""
    made = [
        record_decision(ledger),
        record_decision(ledger, output=REPAIRED),
        record_decision(ledger, decision="reject", reason="too vague"),
    ]
    assert list_decisions(ledger) == made


def test_fingerprint_changes_with_every_decision_and_only_then(ledger: Ledger) -> None:
    """Dagster compares it to see whether approved examples are stale."""
    seen = {decisions_fingerprint(ledger)}
    for _ in range(3):
        record_decision(ledger)
        seen.add(decisions_fingerprint(ledger))
        seen.add(decisions_fingerprint(ledger))
    assert len(seen) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"decision": "maybe"},
        {"decision": "reject", "output": "x"},
        {"reviewer": " "},
        {"output": "x", "approved_fingerprint": None},
    ],
)
def test_inconsistent_decision_is_refused(ledger: Ledger, changes: dict[str, Any]) -> None:
    """Stored decisions determine the training data."""
    with pytest.raises(LedgerError):
        record_decision(ledger, **changes)
    assert list_decisions(ledger) == []
    assert audit.list_entries(ledger) == []


def test_audit_entry_names_reviewer_and_example_without_text(ledger: Ledger) -> None:
    """The log has more readers than the examples."""
    record_decision(ledger, output=REPAIRED, reason=REPAIRED)
    (line,) = audit.list_entries(ledger)
    assert (line.actor, line.action, line.resource) == ("reviewer one", "decided approve", "example e-1")
    assert "Zebrafinch" not in repr(line)


def test_decisions_are_listed_for_contents_decided_more_than_once(ledger: Ledger) -> None:
    """Includes revoked decisions with their time; the caller decides whether they count."""
    record_decision(ledger, fingerprint="alone")
    made = [
        record_decision(ledger, reviewer="Ann", decision="reject"),
        record_decision(ledger, reviewer="Ben", output=REPAIRED),
    ]
    now = datetime.now(UTC)
    with ledger.begin() as connection:
        revoke_decision(connection, made[0].decision_id, "Ann", "slip", now)
        assert find_revoked_reviewers(connection) == find_revoked_reviewers(connection, ["f-1"]) == {"f-1": {"ann"}}
        assert find_revoked_reviewers(connection, ["alone"]) == {}
    assert list_shared_decisions(ledger) == [
        DecisionSummary("f-1", "plan", "Ann", "reject", False, "review", made[0].decided_at, now),
        DecisionSummary("f-1", "plan", "Ben", "approve", True, "review", made[1].decided_at, None),
    ]
