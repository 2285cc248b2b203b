"""Removal of release folders: never one in use, always recorded, and not deployable until rebuilt."""

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import record_state, request_deployment
from fine_tune_assets.ledger.serving.release_records import find_release, list_recorded_releases, record_release
from fine_tune_assets.ledger.serving.release_removal import list_releases_in_use, mark_removed
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict, record_promoted
from fine_tune_assets_tests.serving.tiny_releases import switched


def _remove(ledger: Ledger, release_id: str) -> None:
    with ledger.begin() as connection:
        mark_removed(connection, release_id, "a test")


def test_release_in_use_or_in_flight_is_not_removed(ledger: Ledger) -> None:
    """Every state that may still be needed, including a failed engine whose release users had last."""
    first, second, _, fourth = (switched(ledger, name).deployment_id for name in ("r1", "r2", "r3", "r4"))
    record_promoted(ledger, "r5")
    request_deployment(ledger, "r5")
    in_use = {"r1": "draining", "r2": "draining", "r3": "draining", "r4": "live", "r5": "in flight"}
    assert list_releases_in_use(ledger) == in_use
    for name, state in ((first, "stopped"), (second, "stopped"), (fourth, "failed")):
        record_state(ledger, name, state)
    del in_use["r1"]
    assert list_releases_in_use(ledger) == in_use | {"r2": "kept for rollback"}
    for name in ("r2", "r3", "r4", "r5"):
        with pytest.raises(GateClosedError, match=name):
            _remove(ledger, name)
    _remove(ledger, "r1")


def test_removed_release_stays_known_and_can_be_requested_only_when_rebuilt(ledger: Ledger) -> None:
    release = record_promoted(ledger, "r1")
    _remove(ledger, "r1")
    (recorded,) = list_recorded_releases(ledger)
    assert (recorded.release, recorded.removed_at is None) == (release, False)
    assert find_release(ledger, "r1") == release
    with pytest.raises(GateClosedError, match=r"r1 was removed on .*`fine-tune materialize releases`"):
        request_deployment(ledger, "r1")
    record_release(ledger, release)
    record_release(ledger, release)
    request_deployment(ledger, "r1")
    actions = [line.action for line in audit.list_entries(ledger) if line.resource == "r1"]
    assert actions == ["recorded release", "removed release", "rebuilt removed release"]


def test_removed_release_is_restored_only_through_the_gate(ledger: Ledger) -> None:
    """Its verdict may have changed since."""
    release = record_promoted(ledger, "r1")
    _remove(ledger, "r1")
    record_verdict(ledger, make_verdict("refuse", adapter_id=release.adapter_id))
    with pytest.raises(GateClosedError, match="refuse"):
        record_release(ledger, release)
    assert list_recorded_releases(ledger)[0].removed_at is not None
