"""Users find their own decisions under any spelling of their name, and no one else's."""

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.decision_records import list_reviewer_decisions
from fine_tune_assets_tests.ledger.ledger_rows import record_decision


def test_own_decisions_are_found_for_names_beyond_ascii(ledger: Ledger) -> None:
    """Imported decisions must be revocable under My decisions too; SQLite's lower() folds only ASCII."""
    for example_id, name in (("a", "Zo\u00eb  A"), ("b", "ZOE\u0308 a"), ("c", "Zoe A"), ("d", "Ann")):
        record_decision(ledger, example_id=example_id, reviewer=name)
    found = list_reviewer_decisions(ledger, "zo\u00eb A", before=None, limit=9)
    assert [own.example_id for own in found] == ["b", "a"]
    older = list_reviewer_decisions(ledger, "zo\u00eb A", before=found[0].sequence, limit=9)
    assert [own.example_id for own in older] == ["a"]
    assert list_reviewer_decisions(ledger, "Nobody", before=None, limit=9) == []
