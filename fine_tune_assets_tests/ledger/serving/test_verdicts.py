import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, SealError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import signatures, verdicts
from fine_tune_assets.ledger.serving.release_records import find_release, record_release
from fine_tune_assets.ledger.serving.verdicts import (
    find_latest_verdict,
    list_asked_tests,
    record_verdict,
    require_promotion,
    sign_hold,
)
from fine_tune_assets_tests.ledger.ledger_rows import FINGERPRINTS, make_release, make_verdict


def test_promote_verdict_opens_the_gate_for_exactly_its_fingerprints(ledger: Ledger) -> None:
    """Only the judged candidate may be merged; any changed byte makes another candidate."""
    verdict = make_verdict("promote")
    record_verdict(ledger, verdict)
    assert require_promotion(ledger, **FINGERPRINTS) == verdict
    for name in FINGERPRINTS:
        with pytest.raises(GateClosedError, match="promotion_verdicts"):
            require_promotion(ledger, **(FINGERPRINTS | {name: "another"}))


def test_gate_is_closed_without_a_verdict(ledger: Ledger) -> None:
    """Missing evidence never permits a promotion."""
    with pytest.raises(GateClosedError, match="promotion_verdicts"):
        require_promotion(ledger, **FINGERPRINTS)
    assert find_latest_verdict(ledger, **FINGERPRINTS) is None


@pytest.mark.parametrize("decision", ["hold", "refuse"])
def test_other_verdicts_close_the_gate_and_give_their_reasons(ledger: Ledger, decision: str) -> None:
    """The error must explain the closed gate without access to the database."""
    record_verdict(ledger, make_verdict(decision, reasons=("Only 3 examples were graded.",)))
    with pytest.raises(GateClosedError, match="3 examples"):
        require_promotion(ledger, **FINGERPRINTS)


def test_newest_verdict_counts(ledger: Ledger) -> None:
    """A refusal after a promotion withdraws it, and vice versa."""
    record_verdict(ledger, make_verdict("promote"))
    record_verdict(ledger, make_verdict("refuse"))
    with pytest.raises(GateClosedError):
        require_promotion(ledger, **FINGERPRINTS)
    record_verdict(ledger, make_verdict("promote"))
    record_verdict(ledger, make_verdict("promote"))
    assert require_promotion(ledger, **FINGERPRINTS).decision == "promote"
    assert len(audit.list_entries(ledger)) == 3


def test_approver_can_sign_a_hold_and_is_audited(ledger: Ledger) -> None:
    """A named person takes responsibility."""
    verdict = make_verdict("hold")
    record_verdict(ledger, verdict)
    sign_hold(ledger, verdict.verdict_id, "approver one", "graded by hand")
    assert require_promotion(ledger, **FINGERPRINTS) == verdict
    assert (audit.list_entries(ledger)[-1].actor, audit.list_entries(ledger)[-1].resource) == (
        "approver one",
        verdict.verdict_id,
    )


@pytest.mark.parametrize("decision", ["refuse", "promote"])
def test_only_a_hold_can_be_signed(ledger: Ledger, decision: str) -> None:
    """A refusal has a measured failure that no signature can fix."""
    verdict = make_verdict(decision)
    record_verdict(ledger, verdict)
    with pytest.raises(GateClosedError):
        sign_hold(ledger, verdict.verdict_id, "approver one", "I want to")
    with pytest.raises(UnknownRecordError):
        sign_hold(ledger, "none", "approver one", "I want to")
    with pytest.raises(LedgerError):
        sign_hold(ledger, verdict.verdict_id, "", "I want to")


GATE = {"maximum_missing_fraction": 0.05}


def _graded(missing: int, examples: int) -> str:
    return json.dumps({"missing_grades": missing, "power": {"examples": examples}, "gate": GATE})


def test_hold_with_too_many_missing_grades_cannot_be_signed(ledger: Ledger) -> None:
    """An approver weighs evidence; with almost no grades, a signature would promote without evidence."""
    verdict = make_verdict("hold", evidence=_graded(60, 20))
    record_verdict(ledger, verdict)
    with pytest.raises(GateClosedError, match="60 of 80"):
        sign_hold(ledger, verdict.verdict_id, "approver one", "I want to")
    with pytest.raises(GateClosedError, match=verdict.verdict_id) as closed:
        require_promotion(ledger, **FINGERPRINTS)
    assert "on the desk" not in str(closed.value)
    within = make_verdict("hold", evidence=_graded(4, 76))
    record_verdict(ledger, within)
    sign_hold(ledger, within.verdict_id, "approver one", "graded by hand")
    assert require_promotion(ledger, **FINGERPRINTS) == within


def test_only_the_newest_verdict_can_be_signed_and_once_per_approver(ledger: Ledger) -> None:
    """A signature on an old verdict would open the gate if it were recorded again."""
    held = make_verdict("hold")
    record_verdict(ledger, held)
    sign_hold(ledger, held.verdict_id, "approver one", "graded by hand")
    with pytest.raises(LedgerError, match="approver one"):
        sign_hold(ledger, held.verdict_id, "approver one", "again")
    record_verdict(ledger, make_verdict("refuse"))
    with pytest.raises(GateClosedError, match=held.verdict_id):
        sign_hold(ledger, held.verdict_id, "approver two", "graded by hand")


def test_signature_row_added_by_hand_opens_nothing(ledger: Ledger) -> None:
    """Write access to one table is not an approver's signature."""
    verdict = make_verdict("hold")
    record_verdict(ledger, verdict)
    with ledger.begin() as connection:
        connection.execute(
            signatures.insert().values(
                verdict_id=verdict.verdict_id, approver="approver one", reason="x", signed_at=datetime.now(UTC)
            )
        )
    with pytest.raises(GateClosedError, match="have an approver sign it on the desk"):
        require_promotion(ledger, **FINGERPRINTS)


def test_a_verdict_edited_in_the_database_opens_nothing(ledger: Ledger) -> None:
    """`UPDATE verdicts SET decision = 'promote'` must not serve a model."""
    record_verdict(ledger, make_verdict("refuse"))
    with ledger.begin() as connection:
        connection.execute(verdicts.update().values(decision="promote"))
    with pytest.raises(GateClosedError, match="promotion_verdicts"):
        require_promotion(ledger, **FINGERPRINTS)


def test_verdict_with_a_wrong_id_is_not_recorded(ledger: Ledger) -> None:
    """It could never be verified."""
    with pytest.raises(LedgerError):
        record_verdict(ledger, replace(make_verdict("refuse"), decision="promote"))
    assert find_latest_verdict(ledger, **FINGERPRINTS) is None


def test_release_is_recorded_only_behind_the_gate(ledger: Ledger) -> None:
    """A release built by hand needs a verdict too."""
    refused = make_verdict("refuse")
    record_verdict(ledger, refused)
    with pytest.raises(GateClosedError):
        record_release(ledger, make_release(refused, "r-1"))
    promoted = make_verdict("promote")
    record_verdict(ledger, promoted)
    with pytest.raises(GateClosedError, match=promoted.verdict_id):
        record_release(ledger, make_release(refused, "r-1"))
    assert find_release(ledger, "r-1") is None
    release = make_release(promoted, "r-1")
    record_release(ledger, release)
    record_release(ledger, release)
    assert find_release(ledger, "r-1") == release
    with pytest.raises(LedgerError, match="r-1"):
        record_release(ledger, replace(release, weights_fingerprint="others"))


def test_the_tests_of_verdicts_are_listed_oldest_first(ledger: Ledger) -> None:
    """Also a verdict of a version that did not record its examples. A changed row raises: it decides the next level."""
    document = {"fingerprints": {"judge_scores": "scores-1"}, "test_uses": {"e1": 0, "e2": 3}}
    for evidence in ("{}", json.dumps(document)):
        record_verdict(ledger, make_verdict("hold", evidence=evidence))
    old, new = list_asked_tests(ledger)
    assert (old.scores, old.example_ids) == ("", ())
    assert (new.scores, new.example_ids) == ("scores-1", ("e1", "e2"))
    with ledger.begin() as connection:
        connection.exec_driver_sql("UPDATE verdicts SET evidence = '{}' WHERE evidence != '{}'")
    with pytest.raises(SealError):
        list_asked_tests(ledger)
