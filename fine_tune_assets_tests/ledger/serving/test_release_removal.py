"""A release whose folder goes: never one in use, known for ever, and wanted by nobody until it is built again."""

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import report_state, want_release
from fine_tune_assets.ledger.serving.release_removal import mark_removed, releases_in_use
from fine_tune_assets.ledger.serving.releases import find_release, record_release, recorded_releases
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets_tests.ledger.made import make_verdict, record_promoted
from fine_tune_assets_tests.serving.tiny import switched


def _remove(ledger: Ledger, release_id: str) -> None:
    with ledger.begin() as connection:
        mark_removed(connection, release_id, "a test")


def test_what_serves_served_before_or_is_on_its_way_is_not_removed(ledger: Ledger) -> None:
    """Each state of a deployment that somebody may still need, and an engine that failed: users were given it last."""
    first, second, _, fourth = (switched(ledger, name).deployment_id for name in ("r1", "r2", "r3", "r4"))
    record_promoted(ledger, "r5")
    want_release(ledger, "r5")
    in_use = {"r1": "draining", "r2": "draining", "r3": "draining", "r4": "live", "r5": "on its way"}
    assert releases_in_use(ledger) == in_use
    for name, state in ((first, "stopped"), (second, "stopped"), (fourth, "failed")):
        report_state(ledger, name, state)
    del in_use["r1"]
    assert releases_in_use(ledger) == in_use | {"r2": "kept for a rollback"}
    for name in ("r2", "r3", "r4", "r5"):
        with pytest.raises(GateClosedError, match=f"Release {name} is .*: it is not removed"):
            _remove(ledger, name)
    _remove(ledger, "r1")


def test_what_was_removed_stays_known_and_is_wanted_only_when_it_was_built_again(ledger: Ledger) -> None:
    release = record_promoted(ledger, "r1")
    _remove(ledger, "r1")
    (recorded,) = recorded_releases(ledger)
    assert (recorded.release, recorded.removed_at is None) == (release, False)
    assert find_release(ledger, "r1") == release
    with pytest.raises(GateClosedError, match=r"r1 was removed on .*`fine-tune materialize releases`"):
        want_release(ledger, "r1")
    record_release(ledger, release)
    record_release(ledger, release)
    want_release(ledger, "r1")
    told = [line.what for line in audit.lines(ledger) if line.about == "r1"]
    assert told == ["recorded release", "removed release", "built removed release again"]


def test_a_removed_release_comes_back_only_through_the_gate(ledger: Ledger) -> None:
    """A verdict may have changed since."""
    release = record_promoted(ledger, "r1")
    _remove(ledger, "r1")
    record_verdict(ledger, make_verdict("refuse", adapter_id=release.adapter_id))
    with pytest.raises(GateClosedError, match="is refuse"):
        record_release(ledger, release)
    assert recorded_releases(ledger)[0].removed_at is not None
