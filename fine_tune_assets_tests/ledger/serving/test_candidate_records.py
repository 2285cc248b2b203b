"""Verdicts and releases by candidate, as the desk names them."""

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.review_items import find_items
from fine_tune_assets.ledger.serving.candidate_records import count_candidate_records, list_candidate_records
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict, record_promoted


def test_verdicts_and_releases_are_listed_oldest_first_and_counted(ledger: Ledger) -> None:
    """A change of the counts is the sign that something must be named."""
    assert (count_candidate_records(ledger), list_candidate_records(ledger)) == ((0, 0), [])
    record_promoted(ledger, "r-1")
    refused = make_verdict("refuse", adapter_id="adapter-9")
    record_verdict(ledger, refused)
    found = list_candidate_records(ledger)
    assert [(record.adapter_id, record.release_id) for record in found] == [
        ("adapter of r-1", None),
        ("adapter of r-1", "r-1"),
        ("adapter-9", None),
    ]
    assert found[0].verdict_id == found[1].verdict_id
    assert found[2].verdict_id == refused.verdict_id
    assert found[0].recorded_at.tzinfo is not None
    assert count_candidate_records(ledger) == (2, 1)


def test_no_items_are_found_without_ids(ledger: Ledger) -> None:
    assert find_items(ledger, []) == {}
    assert find_items(ledger, ["e-1"]) == {}
