"""Verdicts for pages: in pages, with signatures, and whether each still decides."""

from datetime import UTC, datetime

import pytest

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import signatures, verdicts
from fine_tune_assets.ledger.serving.verdict_records import find_verdict, list_verdict_summaries
from fine_tune_assets.ledger.serving.verdicts import record_verdict, sign_hold
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict


def test_verdicts_are_listed_newest_first_in_pages(ledger: Ledger) -> None:
    """An old ledger has hundreds."""
    made = [make_verdict("hold", adapter_id=f"adapter-{number}") for number in range(5)]
    for verdict in made:
        record_verdict(ledger, verdict)
    first = list_verdict_summaries(ledger, before=None, limit=3)
    rest = list_verdict_summaries(ledger, before=first[-1].sequence, limit=3)
    assert [line.adapter_id for line in (*first, *rest)] == [v.adapter_id for v in reversed(made)]


def test_only_the_newest_verdict_on_a_candidate_decides(ledger: Ledger) -> None:
    """A verdict recorded again after another one is the newest again."""
    hold, refuse, other = make_verdict("hold"), make_verdict("refuse"), make_verdict("hold", adapter_id="another")
    for verdict in (hold, other, refuse):
        record_verdict(ledger, verdict)
    assert [(x.decision, x.is_newest) for x in list_verdict_summaries(ledger, before=None, limit=9)] == [
        ("refuse", True), ("hold", True), ("hold", False),
    ]  # fmt: skip
    record_verdict(ledger, hold)
    found = find_verdict(ledger, hold.verdict_id)
    assert found is not None
    assert found.is_newest
    assert found.is_intact


def test_signature_without_an_audit_entry_does_not_count(ledger: Ledger) -> None:
    """A row added to the database by hand must not look like an approver."""
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
    assert [(s.approver, s.is_valid) for s in found.signatures] == [("Forger", False), ("Chief", True)]
    assert [line.signers for line in list_verdict_summaries(ledger, before=None, limit=9)] == [("Chief",)]


@pytest.mark.parametrize("change", [{"decision": "promote"}, {"evidence": "{}"}, {"reasons": '["Good."]'}])
def test_changed_verdict_is_shown_as_changed(ledger: Ledger, change: dict[str, str]) -> None:
    """The page shows it; the gate refuses it anyway."""
    hold = make_verdict("hold")
    record_verdict(ledger, hold)
    with ledger.begin() as connection:
        connection.execute(verdicts.update().values(**change))
    found = find_verdict(ledger, hold.verdict_id)
    assert found is not None
    assert not found.is_intact


def test_unknown_verdict_id_finds_nothing(ledger: Ledger) -> None:
    assert find_verdict(ledger, "0" * 16) is None
