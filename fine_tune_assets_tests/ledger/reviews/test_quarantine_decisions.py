"""Approvers' decisions on quarantined corrections."""

import secrets
from datetime import UTC, datetime
from typing import Any

import pytest

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, OwnCorrectionError, UnknownRecordError
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.ledger.reviews.quarantine_decisions import (
    MAX_REASON_CHARACTERS,
    list_quarantine_decisions,
    quarantine_decisions_fingerprint,
    record_quarantine_decision,
)
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def correction_id(ledger: Ledger) -> str:
    record_promoted(ledger, "r-1")
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), "Zebrafinch")
    key = secrets.token_bytes(32)
    return record_correction(ledger, key, release_id="r-1", author="Ward 3", idempotency_key="k", **texts)


def _decide(ledger: Ledger, correction_id: str, **changes: Any) -> str:
    fields: dict[str, Any] = {"fingerprint": "f", "outcome": "accept", "reasons": "flood", "person": "Chief"}
    return record_quarantine_decision(
        ledger, correction_id=correction_id, **({**fields, "reason": "Ten wards asked for it.", "now": NOW} | changes)
    )


def test_decision_is_stored_with_its_reason_and_audited(ledger: Ledger, correction_id: str) -> None:
    """It must stay known who accepted a correction that a model learned."""
    before = quarantine_decisions_fingerprint(ledger)
    _decide(ledger, correction_id)
    (stored,) = list_quarantine_decisions(ledger)
    assert (stored.correction_id, stored.outcome, stored.person, stored.reason) == (
        correction_id, "accept", "Chief", "Ten wards asked for it.",
    )  # fmt: skip
    assert quarantine_decisions_fingerprint(ledger) != before
    line = audit.list_entries(ledger)[-1]
    assert (line.actor, line.resource) == ("Chief", f"correction {correction_id}")


def test_authors_cannot_decide_on_their_own_corrections(ledger: Ledger, correction_id: str) -> None:
    """Under any spelling of the name."""
    with pytest.raises(OwnCorrectionError):
        _decide(ledger, correction_id, person=" ward  3")
    assert list_quarantine_decisions(ledger) == []


@pytest.mark.parametrize(
    "change", [{"outcome": "maybe"}, {"person": " "}, {"reason": " "}, {"reason": "x" * (MAX_REASON_CHARACTERS + 1)}]
)
def test_incomplete_decision_is_refused(ledger: Ledger, correction_id: str, change: dict[str, Any]) -> None:
    """An approval needs a reason."""
    with pytest.raises(LedgerError):
        _decide(ledger, correction_id, **change)


def test_unknown_correction_cannot_be_decided(ledger: Ledger) -> None:
    with pytest.raises(UnknownRecordError):
        _decide(ledger, "none")
