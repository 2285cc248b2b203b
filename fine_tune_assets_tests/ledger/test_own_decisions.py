"""Everybody finds their own decisions, in whatever spelling they were recorded, and nobody else's."""

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.reviews import own_decisions
from fine_tune_assets_tests.ledger.made import record_decision


def test_own_decisions_are_found_beyond_ascii(ledger: Ledger) -> None:
    """What was imported or typed at the terminal is to be revoked under My decisions too; SQLite's lower() folds only ASCII."""
    for example_id, name in (("a", "Zo\u00eb  A"), ("b", "ZOE\u0308 a"), ("c", "Zoe A"), ("d", "Ann")):
        record_decision(ledger, example_id=example_id, reviewer=name)
    found = own_decisions(ledger, "zo\u00eb A", before=None, limit=9)
    assert [own.example_id for own in found] == ["b", "a"]
    older = own_decisions(ledger, "zo\u00eb A", before=found[0].sequence, limit=9)
    assert [own.example_id for own in older] == ["a"]
    assert own_decisions(ledger, "Nobody", before=None, limit=9) == []
