"""The gate for a release that came from elsewhere: by the verdict that came with it, and against what serves here."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.records import Release, Verdict
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.schema import imported_releases
from fine_tune_assets.ledger.serving.deployments import want_release
from fine_tune_assets.ledger.serving.imported_releases import find_import, import_made_now
from fine_tune_assets.ledger.serving.releases import find_release, importing, record_release, require_importable
from fine_tune_assets.ledger.serving.switch_log import serving_adapter
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets_tests.ledger.made import make_release, make_verdict
from fine_tune_assets_tests.serving.tiny import switched

KEY = "k" * 64


def bring(
    ledger: Ledger,
    verdict: Verdict,
    release_id: str = "r1",
    signers: tuple[str, ...] = (),
    *,
    is_placeholder: bool = False,
) -> Release:
    release = make_release(verdict, release_id)
    made = import_made_now(release_id, KEY, verdict, signers, "An Operator", is_placeholder=is_placeholder)
    with importing(ledger, release, made):
        pass
    return release


def test_an_imported_release_can_be_served_and_says_where_it_came_from(ledger: Ledger) -> None:
    """Nothing serves yet: whatever it was compared with, there is nothing that it could be worse than."""
    verdict = make_verdict("promote", incumbent="an adapter that was never here")
    bring(ledger, verdict)
    found = find_import(ledger, "r1")
    assert found is not None
    assert (found.key_fingerprint, found.verdict, found.imported_by) == (KEY, verdict, "An Operator")
    assert want_release(ledger, "r1").state == "wanted"
    assert ("An Operator", "imported release", f"r1 with key {KEY}") in [
        (line.who, line.what, line.about) for line in audit.lines(ledger)
    ]


@pytest.mark.parametrize("decision", ["refuse", "hold"])
def test_a_verdict_that_lets_nothing_through_records_nothing(ledger: Ledger, decision: str) -> None:
    with pytest.raises(GateClosedError, match="nobody signed"):
        bring(ledger, make_verdict(decision))
    assert (find_release(ledger, "r1"), find_import(ledger, "r1"), audit.lines(ledger)) == (None, None, [])


def test_a_refusal_cannot_be_signed_away_elsewhere_and_a_hold_can(ledger: Ledger) -> None:
    with pytest.raises(GateClosedError):
        bring(ledger, make_verdict("refuse"), signers=("An Approver",))
    bring(ledger, make_verdict("hold"), signers=("An Approver",))
    assert want_release(ledger, "r1").state == "wanted"


def test_it_must_have_been_compared_with_what_serves_here(ledger: Ledger) -> None:
    """Better than another model elsewhere says nothing of the one that users have here."""
    switched(ledger, "r0")
    with pytest.raises(GateClosedError, match="adapter of r0 serves here"):
        bring(ledger, make_verdict("promote"))
    bring(ledger, make_verdict("promote", incumbent="adapter of r0"))
    assert want_release(ledger, "r1").state == "wanted"


def test_it_is_refused_at_the_switch_when_something_else_serves_by_then(ledger: Ledger) -> None:
    bring(ledger, make_verdict("promote"))
    switched(ledger, "r0")
    with pytest.raises(GateClosedError, match="serves here"):
        want_release(ledger, "r1")


def test_a_verdict_of_this_installation_on_the_same_candidate_decides(ledger: Ledger) -> None:
    bring(ledger, make_verdict("promote"))
    record_verdict(ledger, make_verdict("refuse", reasons=("It was worse here.",)))
    with pytest.raises(GateClosedError, match="refuse"):
        want_release(ledger, "r1")


@pytest.mark.parametrize("change", ["verdict", "signers", "key", "who", "row"])
def test_a_row_that_somebody_changed_opens_nothing(ledger: Ledger, change: str) -> None:
    """Whoever can write to the ledger's tables, and no more."""
    bring(ledger, make_verdict("hold"), signers=("An Approver",))
    values = {
        "verdict": {"verdict": sa.func.replace(imported_releases.c.verdict, "Measured", "Praised")},
        "signers": {"signers": "[]"},
        "key": {"key_fingerprint": "z" * 64},
        "who": {"imported_by": "Somebody"},
    }
    with ledger.begin() as connection:
        if change == "row":
            connection.execute(imported_releases.delete())
        else:
            connection.execute(imported_releases.update().values(**values[change]))
    with pytest.raises(GateClosedError):
        want_release(ledger, "r1")


def test_a_release_that_was_made_here_cannot_be_imported_over(ledger: Ledger) -> None:
    verdict = make_verdict("promote")
    record_verdict(ledger, verdict)
    record_release(ledger, make_release(verdict, "r1"))
    with pytest.raises(LedgerError, match="was made here"):
        bring(ledger, verdict)
    assert find_import(ledger, "r1") is None


def test_other_facts_under_the_same_id_are_refused(ledger: Ledger) -> None:
    verdict = make_verdict("promote")
    release = bring(ledger, verdict)
    made = import_made_now("r1", KEY, verdict, (), "An Operator")
    with pytest.raises(LedgerError), importing(ledger, replace(release, weights_fingerprint="w2"), made):
        pass


def test_one_that_is_built_here_later_is_ours_from_then_on(ledger: Ledger) -> None:
    """Its folder has this installation's signature then, and its verdict is this installation's."""
    verdict = make_verdict("promote")
    release = bring(ledger, verdict)
    with pytest.raises(GateClosedError, match="has no verdict"):
        record_release(ledger, release)
    assert find_import(ledger, "r1") is not None
    record_verdict(ledger, verdict)
    record_release(ledger, release)
    assert find_import(ledger, "r1") is None
    assert want_release(ledger, "r1").state == "wanted"


def test_asking_whether_it_may_be_imported_keeps_nothing(ledger: Ledger) -> None:
    """It is asked before an engine is started for the probes."""
    verdict = make_verdict("promote")
    require_importable(ledger, make_release(verdict, "r1"), import_made_now("r1", KEY, verdict, (), "An Operator"))
    assert (find_release(ledger, "r1"), find_import(ledger, "r1"), audit.lines(ledger)) == (None, None, [])


def test_candidates_are_compared_with_the_base_model_while_a_placeholder_serves(ledger: Ledger) -> None:
    """What it was made from is not here, so nothing here could be compared with it. Whoever imported it said so, on record."""
    bring(ledger, make_verdict("promote"), is_placeholder=True)
    switched(ledger, "r1")
    assert serving_adapter(ledger) is None
    assert audit.lines(ledger)[0].about == f"r1 with key {KEY} as a placeholder"
    own = make_verdict("promote", adapter_id="own")
    record_verdict(ledger, own)
    record_release(ledger, make_release(own, "r2"))
    switched(ledger, "r2")
    assert serving_adapter(ledger) == "own"


def test_a_row_that_is_edited_makes_no_placeholder(ledger: Ledger) -> None:
    """Else a writer of the table could have a worse candidate promoted: the audit log decides."""
    verdict = make_verdict("promote")
    bring(ledger, verdict)
    switched(ledger, "r1")
    with ledger.begin() as connection:
        connection.execute(imported_releases.update().values(is_placeholder=True))
    assert serving_adapter(ledger) == verdict.adapter_id


def test_a_row_that_disagrees_with_the_audit_log_closes_the_gate(ledger: Ledger) -> None:
    bring(ledger, make_verdict("promote"), is_placeholder=True)
    with ledger.begin() as connection:
        connection.execute(imported_releases.update().values(is_placeholder=False))
    with pytest.raises(GateClosedError, match="was changed"):
        want_release(ledger, "r1")
