"""Users find their own decisions under any spelling of their name, and no one else's."""

from datetime import UTC, datetime, timedelta

import pytest

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.decision_records import (
    DecisionFilter,
    list_decision_times,
    list_decisions,
    list_newest_records,
    list_reviewer_decisions,
    revoke_decision,
)
from fine_tune_assets_tests.ledger.ledger_rows import record_decision

DAY = datetime(2026, 5, 1, tzinfo=UTC)


def test_own_decisions_are_found_for_names_beyond_ascii(ledger: Ledger) -> None:
    """Imported decisions must be revocable under My decisions too; SQLite's lower() folds only ASCII."""
    for example_id, name in (("a", "Zo\u00eb  A"), ("b", "ZOE\u0308 a"), ("c", "Zoe A"), ("d", "Ann")):
        record_decision(ledger, example_id=example_id, reviewer=name)
    found = list_reviewer_decisions(ledger, "zo\u00eb A", DecisionFilter(), before=None, limit=9)
    assert [own.record.decision.example_id for own in found] == ["b", "a"]
    older = list_reviewer_decisions(ledger, "zo\u00eb A", DecisionFilter(), before=found[0].sequence, limit=9)
    assert [own.record.decision.example_id for own in older] == ["a"]
    assert list_reviewer_decisions(ledger, "Nobody", DecisionFilter(), before=None, limit=9) == []


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (DecisionFilter("approved"), ["a"]),
        (DecisionFilter("repaired"), ["b"]),
        (DecisionFilter("rejected"), ["d", "c"]),
        (DecisionFilter("revoked"), ["d"]),
        (DecisionFilter(decided_from=DAY, decided_before=DAY + timedelta(days=1)), ["d", "c", "b", "a"]),
        (DecisionFilter(decided_before=DAY), []),
        (DecisionFilter("rejected", decided_from=DAY + timedelta(days=1)), []),
    ],
)
def test_own_decisions_are_filtered_by_outcome_and_time(
    ledger: Ledger, filter: DecisionFilter, expected: list[str]
) -> None:
    """A reviewer looks for the decision of yesterday, not through all of them."""
    at = {"reviewer": "Ann", "decided_at": DAY + timedelta(hours=9)}
    record_decision(ledger, example_id="a", **at)
    record_decision(ledger, example_id="b", output="Better.", approved_fingerprint="f", **at)
    for example_id in ("c", "d"):
        record_decision(ledger, example_id=example_id, decision="reject", **at)
    (*_, last) = list_decisions(ledger)
    with ledger.begin() as connection:
        revoke_decision(connection, last.decision_id, "Ann", "slip", DAY)
    found = list_reviewer_decisions(ledger, "Ann", filter, before=None, limit=9)
    assert [own.record.decision.example_id for own in found] == expected
    assert list_newest_records(ledger, 1)[0].decision == last


def test_revoked_decisions_do_not_count_in_a_sitting(ledger: Ledger) -> None:
    """Its item waits again, and would be counted twice."""
    for hour in (8, 9):
        record_decision(ledger, example_id=f"{hour}", reviewer="Ann", decided_at=DAY + timedelta(hours=hour))
    with ledger.begin() as connection:
        revoke_decision(connection, list_decisions(ledger)[1].decision_id, "Ann", "slip", DAY)
    assert list_decision_times(ledger, "Ann", 9) == [DAY + timedelta(hours=8)]
