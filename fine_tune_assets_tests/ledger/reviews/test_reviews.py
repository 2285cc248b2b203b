from datetime import UTC, datetime
from typing import Any

import pytest

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.reviews.reviews import (
    ReviewWord,
    decisions_fingerprint,
    list_decisions,
    revoke_decision,
    revoked_reviewers,
    words_on_shared_contents,
)
from fine_tune_assets_tests.ledger.made import record_decision

REPAIRED = "Zebrafinch: the repaired output."


def test_decisions_come_back_as_they_were_made_in_order(ledger: Ledger) -> None:
    """The later decision on an example counts, so the order is part of the record."""
    made = [
        record_decision(ledger),
        record_decision(ledger, output=REPAIRED),
        record_decision(ledger, decision="reject", reason="too vague"),
    ]
    assert list_decisions(ledger) == made


def test_the_fingerprint_changes_with_every_decision_and_only_then(ledger: Ledger) -> None:
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
def test_a_decision_that_makes_no_sense_is_refused(ledger: Ledger, changes: dict[str, Any]) -> None:
    """What is stored here decides what a model is trained on."""
    with pytest.raises(LedgerError):
        record_decision(ledger, **changes)
    assert list_decisions(ledger) == []
    assert audit.lines(ledger) == []


def test_the_audit_line_names_who_and_what_without_text(ledger: Ledger) -> None:
    """The log is read by more people than the examples are."""
    record_decision(ledger, output=REPAIRED, reason=REPAIRED)
    (line,) = audit.lines(ledger)
    assert (line.who, line.what, line.about) == ("reviewer one", "decided approve", "example e-1")
    assert "Zebrafinch" not in repr(line)


def test_words_are_compared_where_one_content_was_decided_on_twice(ledger: Ledger) -> None:
    """With what was revoked, and when: whether it counts is for who compares. One word compares with nothing."""
    record_decision(ledger, fingerprint="alone")
    made = [
        record_decision(ledger, reviewer="Ann", decision="reject"),
        record_decision(ledger, reviewer="Ben", output=REPAIRED),
    ]
    now = datetime.now(UTC)
    with ledger.begin() as connection:
        revoke_decision(connection, made[0].decision_id, "Ann", "slip", now)
        assert revoked_reviewers(connection) == revoked_reviewers(connection, ["f-1"]) == {"f-1": {"ann"}}
        assert revoked_reviewers(connection, ["alone"]) == {}
    assert words_on_shared_contents(ledger) == [
        ReviewWord("f-1", "plan", "Ann", "reject", False, "review", made[0].decided_at, now),
        ReviewWord("f-1", "plan", "Ben", "approve", True, "review", made[1].decided_at, None),
    ]
