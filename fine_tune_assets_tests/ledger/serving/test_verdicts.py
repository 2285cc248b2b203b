import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.schema import signatures, verdicts
from fine_tune_assets.ledger.serving.releases import find_release, record_release
from fine_tune_assets.ledger.serving.verdicts import latest_verdict, record_verdict, require_promotion, sign_hold
from fine_tune_assets_tests.ledger.made import FINGERPRINTS, make_release, make_verdict


def test_a_promote_verdict_opens_the_gate_for_exactly_its_fingerprints(ledger: Ledger) -> None:
    """What was judged is what may be merged; one changed byte anywhere is something else."""
    verdict = make_verdict("promote")
    record_verdict(ledger, verdict)
    assert require_promotion(ledger, **FINGERPRINTS) == verdict
    for name in FINGERPRINTS:
        with pytest.raises(GateClosedError, match="no verdict"):
            require_promotion(ledger, **(FINGERPRINTS | {name: "another"}))


def test_without_a_verdict_the_gate_is_closed(ledger: Ledger) -> None:
    """No evidence is no permission."""
    with pytest.raises(GateClosedError, match="promotion_verdicts"):
        require_promotion(ledger, **FINGERPRINTS)
    assert latest_verdict(ledger, **FINGERPRINTS) is None


@pytest.mark.parametrize("decision", ["hold", "refuse"])
def test_any_other_verdict_closes_the_gate_and_gives_its_reasons(ledger: Ledger, decision: str) -> None:
    """Whoever meets the closed gate must learn why without opening the database."""
    record_verdict(ledger, make_verdict(decision, reasons=("Only 3 examples were graded.",)))
    with pytest.raises(GateClosedError, match="Only 3 examples were graded"):
        require_promotion(ledger, **FINGERPRINTS)


def test_the_newest_verdict_counts(ledger: Ledger) -> None:
    """A refusal after a promotion takes the promotion back, and so the other way round."""
    record_verdict(ledger, make_verdict("promote"))
    record_verdict(ledger, make_verdict("refuse"))
    with pytest.raises(GateClosedError):
        require_promotion(ledger, **FINGERPRINTS)
    record_verdict(ledger, make_verdict("promote"))
    record_verdict(ledger, make_verdict("promote"))
    assert require_promotion(ledger, **FINGERPRINTS).decision == "promote"
    assert len(audit.lines(ledger)) == 3


def test_an_approver_can_sign_a_hold_and_is_named_in_the_log(ledger: Ledger) -> None:
    """Someone takes the responsibility, by name."""
    verdict = make_verdict("hold")
    record_verdict(ledger, verdict)
    sign_hold(ledger, verdict.verdict_id, "approver one", "graded by hand")
    assert require_promotion(ledger, **FINGERPRINTS) == verdict
    assert (audit.lines(ledger)[-1].who, audit.lines(ledger)[-1].about) == ("approver one", verdict.verdict_id)


@pytest.mark.parametrize("decision", ["refuse", "promote"])
def test_only_a_hold_can_be_signed(ledger: Ledger, decision: str) -> None:
    """A refusal rests on a measured failure: no signature makes it good."""
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


def test_a_hold_that_most_grades_are_missing_from_can_not_be_signed(ledger: Ledger) -> None:
    """An approver weighs evidence: where the judge gave next to none, a signature would be a promotion by nobody."""
    verdict = make_verdict("hold", evidence=_graded(60, 20))
    record_verdict(ledger, verdict)
    with pytest.raises(GateClosedError, match=r"can't be signed\. 60 of 80 test examples have no grade"):
        sign_hold(ledger, verdict.verdict_id, "approver one", "I want to")
    with pytest.raises(GateClosedError, match="without it nobody can sign"):
        require_promotion(ledger, **FINGERPRINTS)
    within = make_verdict("hold", evidence=_graded(4, 76))
    record_verdict(ledger, within)
    sign_hold(ledger, within.verdict_id, "approver one", "graded by hand")
    assert require_promotion(ledger, **FINGERPRINTS) == within


def test_only_the_newest_verdict_on_a_candidate_can_be_signed_and_by_each_approver_once(ledger: Ledger) -> None:
    """A signature on an old one would open the gate on the day that it is recorded again."""
    held = make_verdict("hold")
    record_verdict(ledger, held)
    sign_hold(ledger, held.verdict_id, "approver one", "graded by hand")
    with pytest.raises(LedgerError, match="has signed"):
        sign_hold(ledger, held.verdict_id, "approver one", "once more")
    record_verdict(ledger, make_verdict("refuse"))
    with pytest.raises(GateClosedError, match="not the newest"):
        sign_hold(ledger, held.verdict_id, "approver two", "graded by hand")


def test_a_signature_row_added_by_hand_opens_nothing(ledger: Ledger) -> None:
    """Write access to one table is not an approver's signature."""
    verdict = make_verdict("hold")
    record_verdict(ledger, verdict)
    with ledger.begin() as connection:
        connection.execute(
            signatures.insert().values(
                verdict_id=verdict.verdict_id, approver="approver one", reason="x", signed_at=datetime.now(UTC)
            )
        )
    with pytest.raises(GateClosedError, match="nobody signed"):
        require_promotion(ledger, **FINGERPRINTS)


def test_a_verdict_edited_in_the_database_opens_nothing(ledger: Ledger) -> None:
    """`UPDATE verdicts SET decision = 'promote'` must not serve a model."""
    record_verdict(ledger, make_verdict("refuse"))
    with ledger.begin() as connection:
        connection.execute(verdicts.update().values(decision="promote"))
    with pytest.raises(GateClosedError, match="changed after it was recorded"):
        require_promotion(ledger, **FINGERPRINTS)


def test_a_verdict_whose_id_is_not_its_own_is_not_recorded(ledger: Ledger) -> None:
    """It could never be checked later."""
    with pytest.raises(LedgerError):
        record_verdict(ledger, replace(make_verdict("refuse"), decision="promote"))
    assert latest_verdict(ledger, **FINGERPRINTS) is None


def test_a_release_is_recorded_only_behind_the_gate(ledger: Ledger) -> None:
    """Not even a release that was built by hand gets into the ledger without a verdict."""
    refused = make_verdict("refuse")
    record_verdict(ledger, refused)
    with pytest.raises(GateClosedError):
        record_release(ledger, make_release(refused, "r-1"))
    promoted = make_verdict("promote")
    record_verdict(ledger, promoted)
    with pytest.raises(GateClosedError, match="newest one"):
        record_release(ledger, make_release(refused, "r-1"))
    assert find_release(ledger, "r-1") is None
    release = make_release(promoted, "r-1")
    record_release(ledger, release)
    record_release(ledger, release)
    assert find_release(ledger, "r-1") == release
    with pytest.raises(LedgerError, match="other facts"):
        record_release(ledger, replace(release, weights_fingerprint="others"))
