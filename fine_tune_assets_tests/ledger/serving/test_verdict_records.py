"""Verdicts as pages list them: in pages, each with its signatures, and whether it still decides."""

from datetime import UTC, datetime

import pytest

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import signatures, verdicts
from fine_tune_assets.ledger.serving.verdict_records import find_verdict, verdict_lines
from fine_tune_assets.ledger.serving.verdicts import record_verdict, sign_hold
from fine_tune_assets_tests.ledger.made import make_verdict


def test_they_come_newest_first_a_page_at_a_time(ledger: Ledger) -> None:
    """A ledger of years has hundreds."""
    made = [make_verdict("hold", adapter_id=f"adapter-{number}") for number in range(5)]
    for verdict in made:
        record_verdict(ledger, verdict)
    first = verdict_lines(ledger, before=None, limit=3)
    rest = verdict_lines(ledger, before=first[-1].sequence, limit=3)
    assert [line.adapter_id for line in (*first, *rest)] == [v.adapter_id for v in reversed(made)]


def test_only_the_newest_on_a_candidate_decides(ledger: Ledger) -> None:
    """And one that came again after another is the newest again."""
    hold, refuse, other = make_verdict("hold"), make_verdict("refuse"), make_verdict("hold", adapter_id="another")
    for verdict in (hold, other, refuse):
        record_verdict(ledger, verdict)
    assert [(x.decision, x.is_newest) for x in verdict_lines(ledger, before=None, limit=9)] == [
        ("refuse", True), ("hold", True), ("hold", False),
    ]  # fmt: skip
    record_verdict(ledger, hold)
    found = find_verdict(ledger, hold.verdict_id)
    assert found is not None
    assert found.is_newest
    assert found.is_whole


def test_signatures_stand_beside_it_and_one_without_its_audit_line_does_not_count(ledger: Ledger) -> None:
    """Whoever writes a row into the database by hand must not look like an approver."""
    hold = make_verdict("hold")
    record_verdict(ledger, hold)
    row = {"verdict_id": hold.verdict_id, "approver": "Forger", "reason": "", "signed_at": datetime.now(UTC)}
    with ledger.begin() as connection:
        connection.execute(signatures.insert().values(row))
    found = find_verdict(ledger, hold.verdict_id)
    assert found is not None
    assert not found.is_signed
    sign_hold(ledger, hold.verdict_id, "Chief", "Read all of it.")
    found = find_verdict(ledger, hold.verdict_id)
    assert found is not None
    assert found.is_signed
    assert [(s.approver, s.counts) for s in found.signatures] == [("Forger", False), ("Chief", True)]
    assert [line.signers for line in verdict_lines(ledger, before=None, limit=9)] == [("Chief",)]


@pytest.mark.parametrize("change", [{"decision": "promote"}, {"evidence": "{}"}, {"reasons": '["Good."]'}])
def test_a_verdict_that_was_changed_is_known_by_its_id(ledger: Ledger, change: dict[str, str]) -> None:
    """The page says so; the gate refuses it anyway."""
    hold = make_verdict("hold")
    record_verdict(ledger, hold)
    with ledger.begin() as connection:
        connection.execute(verdicts.update().values(**change))
    found = find_verdict(ledger, hold.verdict_id)
    assert found is not None
    assert not found.is_whole


def test_there_is_none_by_an_unknown_id(ledger: Ledger) -> None:
    assert find_verdict(ledger, "0" * 16) is None
