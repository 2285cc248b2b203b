"""The gate for imported releases: the verdict that came with them, compared with the production model here."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.shared_records import Release, Verdict
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.ledger_tables import imported_releases
from fine_tune_assets.ledger.serving.deployments import request_deployment
from fine_tune_assets.ledger.serving.imported_releases import find_import, make_import
from fine_tune_assets.ledger.serving.release_records import (
    find_release,
    import_transaction,
    record_release,
    require_importable,
)
from fine_tune_assets.ledger.serving.switch_log import find_production_adapter
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets_tests.ledger.ledger_rows import make_release, make_verdict
from fine_tune_assets_tests.serving.tiny_releases import switched

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
    made = make_import(release_id, KEY, verdict, signers, "An Operator", is_placeholder=is_placeholder)
    with import_transaction(ledger, release, made):
        pass
    return release


def test_imported_release_can_be_served_and_names_its_origin(ledger: Ledger) -> None:
    """Without a production model there is nothing that it could be worse than."""
    verdict = make_verdict("promote", incumbent="an adapter that was never here")
    bring(ledger, verdict)
    found = find_import(ledger, "r1")
    assert found is not None
    assert (found.key_fingerprint, found.verdict, found.imported_by) == (KEY, verdict, "An Operator")
    assert request_deployment(ledger, "r1").state == "requested"
    assert ("An Operator", "imported release", f"r1 with key {KEY}") in [
        (line.actor, line.action, line.resource) for line in audit.list_entries(ledger)
    ]


@pytest.mark.parametrize("decision", ["refuse", "hold"])
def test_verdict_that_does_not_promote_is_not_imported(ledger: Ledger, decision: str) -> None:
    with pytest.raises(GateClosedError, match="r1"):
        bring(ledger, make_verdict(decision))
    assert (find_release(ledger, "r1"), find_import(ledger, "r1"), audit.list_entries(ledger)) == (None, None, [])


def test_signatures_elsewhere_promote_a_hold_but_not_a_refusal(ledger: Ledger) -> None:
    with pytest.raises(GateClosedError):
        bring(ledger, make_verdict("refuse"), signers=("An Approver",))
    bring(ledger, make_verdict("hold"), signers=("An Approver",))
    assert request_deployment(ledger, "r1").state == "requested"


def test_imported_release_must_have_been_compared_with_the_production_model(ledger: Ledger) -> None:
    """Better than another model elsewhere says nothing about the one here."""
    switched(ledger, "r0")
    with pytest.raises(GateClosedError, match="adapter of r0"):
        bring(ledger, make_verdict("promote"))
    bring(ledger, make_verdict("promote", incumbent="adapter of r0"))
    assert request_deployment(ledger, "r1").state == "requested"


def test_imported_release_is_refused_at_the_switch_if_the_production_model_changed(ledger: Ledger) -> None:
    bring(ledger, make_verdict("promote"))
    switched(ledger, "r0")
    with pytest.raises(GateClosedError, match="adapter of r0"):
        request_deployment(ledger, "r1")


def test_verdict_of_this_installation_overrides_the_imported_one(ledger: Ledger) -> None:
    bring(ledger, make_verdict("promote"))
    record_verdict(ledger, make_verdict("refuse", reasons=("It was worse here.",)))
    with pytest.raises(GateClosedError, match="refuse"):
        request_deployment(ledger, "r1")


@pytest.mark.parametrize("change", ["verdict", "signers", "key", "who", "row"])
def test_changed_row_opens_nothing(ledger: Ledger, change: str) -> None:
    """An attacker with write access to the ledger's tables only."""
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
        request_deployment(ledger, "r1")


def test_import_cannot_replace_a_release_built_here(ledger: Ledger) -> None:
    verdict = make_verdict("promote")
    record_verdict(ledger, verdict)
    record_release(ledger, make_release(verdict, "r1"))
    with pytest.raises(LedgerError, match="r1"):
        bring(ledger, verdict)
    assert find_import(ledger, "r1") is None


def test_different_values_under_the_same_id_are_refused(ledger: Ledger) -> None:
    verdict = make_verdict("promote")
    release = bring(ledger, verdict)
    made = make_import("r1", KEY, verdict, (), "An Operator")
    with pytest.raises(LedgerError), import_transaction(ledger, replace(release, weights_fingerprint="w2"), made):
        pass


def test_imported_release_built_here_later_counts_as_built_here(ledger: Ledger) -> None:
    """Its folder then has this installation's signature, and its verdict is this installation's."""
    verdict = make_verdict("promote")
    release = bring(ledger, verdict)
    with pytest.raises(GateClosedError, match="promotion_verdicts"):
        record_release(ledger, release)
    assert find_import(ledger, "r1") is not None
    record_verdict(ledger, verdict)
    record_release(ledger, release)
    assert find_import(ledger, "r1") is None
    assert request_deployment(ledger, "r1").state == "requested"


def test_import_check_records_nothing(ledger: Ledger) -> None:
    """It runs before an engine starts for the probes."""
    verdict = make_verdict("promote")
    require_importable(ledger, make_release(verdict, "r1"), make_import("r1", KEY, verdict, (), "An Operator"))
    assert (find_release(ledger, "r1"), find_import(ledger, "r1"), audit.list_entries(ledger)) == (None, None, [])


def test_candidates_are_compared_with_the_base_model_while_a_placeholder_serves(ledger: Ledger) -> None:
    """Its training data is elsewhere, so nothing here can be compared with it. The importer's statement is audited."""
    bring(ledger, make_verdict("promote"), is_placeholder=True)
    switched(ledger, "r1")
    assert find_production_adapter(ledger) is None
    assert audit.list_entries(ledger)[0].resource == f"r1 with key {KEY} as a placeholder"
    own = make_verdict("promote", adapter_id="own")
    record_verdict(ledger, own)
    record_release(ledger, make_release(own, "r2"))
    switched(ledger, "r2")
    assert find_production_adapter(ledger) == "own"


def test_edited_row_makes_no_placeholder(ledger: Ledger) -> None:
    """Otherwise write access to the table could promote a worse candidate; the audit log decides."""
    verdict = make_verdict("promote")
    bring(ledger, verdict)
    switched(ledger, "r1")
    with ledger.begin() as connection:
        connection.execute(imported_releases.update().values(is_placeholder=True))
    assert find_production_adapter(ledger) == verdict.adapter_id


def test_row_that_contradicts_the_audit_log_closes_the_gate(ledger: Ledger) -> None:
    bring(ledger, make_verdict("promote"), is_placeholder=True)
    with ledger.begin() as connection:
        connection.execute(imported_releases.update().values(is_placeholder=False))
    with pytest.raises(GateClosedError, match="fine-tune releases import"):
        request_deployment(ledger, "r1")
