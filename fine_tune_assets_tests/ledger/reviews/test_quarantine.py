"""What approvers decide about corrections in quarantine."""

import secrets
from datetime import UTC, datetime
from typing import Any

import pytest

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, OwnCorrectionError, UnknownRecordError
from fine_tune_assets.ledger.reviews.corrections import record_correction
from fine_tune_assets.ledger.reviews.quarantine import (
    LONGEST_REASON,
    decide_quarantined,
    list_quarantine_decisions,
    quarantine_decisions_fingerprint,
)
from fine_tune_assets_tests.ledger.made import record_promoted

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def correction_id(ledger: Ledger) -> str:
    record_promoted(ledger, "r-1")
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), "Zebrafinch")
    key = secrets.token_bytes(32)
    return record_correction(ledger, key, release_id="r-1", author="Ward 3", idempotency_key="k", **texts)


def _decide(ledger: Ledger, correction_id: str, **changes: Any) -> str:
    said: dict[str, Any] = {"fingerprint": "f", "outcome": "let_through", "reasons": "flood", "person": "Chief"}
    return decide_quarantined(
        ledger, correction_id=correction_id, **({**said, "reason": "Ten wards asked for it.", "now": NOW} | changes)
    )


def test_a_decision_is_kept_with_its_reason_and_in_the_audit_log(ledger: Ledger, correction_id: str) -> None:
    """Whoever asks later why a model learned it finds who let it in."""
    before = quarantine_decisions_fingerprint(ledger)
    _decide(ledger, correction_id)
    (kept,) = list_quarantine_decisions(ledger)
    assert (kept.correction_id, kept.outcome, kept.person, kept.reason) == (
        correction_id, "let_through", "Chief", "Ten wards asked for it.",
    )  # fmt: skip
    assert quarantine_decisions_fingerprint(ledger) != before
    line = audit.lines(ledger)[-1]
    assert (line.who, line.about) == ("Chief", f"correction {correction_id}")


def test_nobody_lets_their_own_correction_out(ledger: Ledger, correction_id: str) -> None:
    """However the name is written."""
    with pytest.raises(OwnCorrectionError):
        _decide(ledger, correction_id, person=" ward  3")
    assert list_quarantine_decisions(ledger) == []


@pytest.mark.parametrize(
    "change", [{"outcome": "maybe"}, {"person": " "}, {"reason": " "}, {"reason": "x" * (LONGEST_REASON + 1)}]
)
def test_what_says_too_little_is_refused(ledger: Ledger, correction_id: str, change: dict[str, Any]) -> None:
    """An approval without a reason is none."""
    with pytest.raises(LedgerError):
        _decide(ledger, correction_id, **change)


def test_a_correction_that_is_not_there_can_not_be_decided_on(ledger: Ledger) -> None:
    with pytest.raises(UnknownRecordError):
        _decide(ledger, "none")
