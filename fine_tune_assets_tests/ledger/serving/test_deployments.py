import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, TransitionError, UnknownRecordError
from fine_tune_assets.ledger.serving.deployments import (
    ALLOWED_TRANSITIONS,
    clear_engine,
    find_live_deployment,
    list_current_deployments,
    list_deployments,
    open_engine_key,
    record_state,
    request_deployment,
    seal_engine_key,
    switch_traffic,
)
from fine_tune_assets.ledger.serving.switch_log import find_production_adapter
from fine_tune_assets.ledger.serving.verdicts import record_verdict, require_promotion
from fine_tune_assets_tests.ledger.ledger_rows import FINGERPRINTS, live_of, make_verdict, record_promoted
from fine_tune_assets_tests.serving.tiny_releases import make_ready


@pytest.fixture(autouse=True)
def _releases(ledger: Ledger) -> None:
    for release_id in ("r-1", "r-2"):
        record_promoted(ledger, release_id)


def test_colours_alternate_and_the_old_deployment_drains(ledger: Ledger) -> None:
    """The new release starts next to the old one, so users are always served."""
    assert find_live_deployment(ledger) is None
    first = switch_traffic(ledger, make_ready(ledger, "r-1").deployment_id)
    second = make_ready(ledger, "r-3")
    assert (first.colour, second.colour) == ("blue", "green")
    assert find_live_deployment(ledger) == first
    switch_traffic(ledger, second.deployment_id)
    switch_traffic(ledger, second.deployment_id)
    assert [(d.release_id, d.state) for d in list_deployments(ledger)] == [("r-1", "draining"), ("r-3", "live")]
    third = switch_traffic(ledger, make_ready(ledger, "r-4").deployment_id)
    assert (third.colour, third.release_id) == ("blue", "r-4")


def test_release_compared_with_a_replaced_incumbent_is_refused(ledger: Ledger) -> None:
    """Better than the base model is not better than its replacement."""
    ready = make_ready(ledger, "r-2")
    record_state(ledger, ready.deployment_id, "stopped")
    switch_traffic(ledger, make_ready(ledger, "r-1").deployment_id)
    with pytest.raises(GateClosedError, match="adapter of r-1"):
        request_deployment(ledger, "r-2")
    with pytest.raises(GateClosedError, match="fine-tune materialize judge_scores"):
        require_promotion(ledger, **FINGERPRINTS | {"adapter_id": "adapter of r-2"})
    assert require_promotion(ledger, **FINGERPRINTS | {"adapter_id": "adapter of r-1"})


def test_production_model_is_the_last_switched_release_even_if_its_engine_failed(ledger: Ledger) -> None:
    """A crash must not lower the bar for the next candidate to the base model."""
    assert find_production_adapter(ledger) is None
    live = switch_traffic(ledger, make_ready(ledger, "r-1").deployment_id)
    record_state(ledger, live.deployment_id, "failed", detail="a file changed")
    assert find_live_deployment(ledger) is None
    assert find_production_adapter(ledger) == "adapter of r-1"
    with pytest.raises(GateClosedError):
        request_deployment(ledger, "r-2")
    assert request_deployment(ledger, "r-1").state == "requested"


def test_requesting_a_live_or_pending_release_starts_nothing(ledger: Ledger) -> None:
    """A second `make demo` must not start a second engine."""
    wanted = request_deployment(ledger, "r-1")
    assert request_deployment(ledger, "r-1") == wanted
    live = switch_traffic(ledger, make_ready(ledger, "r-1").deployment_id)
    assert request_deployment(ledger, "r-1") == live
    assert len(list_deployments(ledger)) == 1


def test_requesting_another_release_supersedes_the_pending_one(ledger: Ledger) -> None:
    """The machine has room for two engines, not always for three."""
    given_up = request_deployment(ledger, "r-1")
    wanted = request_deployment(ledger, "r-2")
    assert [d.deployment_id for d in list_current_deployments(ledger)] == [wanted.deployment_id]
    assert list_deployments(ledger)[0].deployment_id == given_up.deployment_id
    assert list_deployments(ledger)[0].detail == "superseded by release r-2"


def test_only_a_ready_deployment_goes_live(ledger: Ledger) -> None:
    """Users must not be sent to an engine that is still loading."""
    deployment = request_deployment(ledger, "r-1")
    with pytest.raises(TransitionError, match=deployment.deployment_id):
        switch_traffic(ledger, deployment.deployment_id)
    with pytest.raises(UnknownRecordError):
        switch_traffic(ledger, "none")


def test_dead_engine_leaves_no_address_and_no_key(ledger: Ledger) -> None:
    """Another program may get its port and would receive prompts. The deployment stays live and restarts at another address."""
    live = switch_traffic(ledger, make_ready(ledger, "r-1").deployment_id)
    for _ in range(2):
        clear_engine(ledger, live.deployment_id)
    clear_engine(ledger, "none")
    found = live_of(ledger)
    assert (found.deployment_id, found.engine_url, found.engine_key) == (live.deployment_id, None, None)
    assert [line.action for line in audit.list_entries(ledger)].count("withdrew engine") == 1
    back = record_state(ledger, live.deployment_id, "live", engine_url="http://127.0.0.1:2/v1", engine_key=b"k")
    assert back.engine_url == "http://127.0.0.1:2/v1"


def test_ready_deployment_without_an_engine_cannot_go_live(ledger: Ledger) -> None:
    """Users would be moved from a release that answers to one that does not."""
    ready = make_ready(ledger, "r-1").deployment_id
    clear_engine(ledger, ready)
    with pytest.raises(TransitionError):
        switch_traffic(ledger, ready)
    assert find_live_deployment(ledger) is None


def test_reported_states_can_neither_skip_a_state_nor_go_live(ledger: Ledger) -> None:
    """The supervisor reports; only a gated switch moves users."""
    deployment = request_deployment(ledger, "r-1")
    for state in ("ready", "live", "draining"):
        with pytest.raises(TransitionError):
            record_state(ledger, deployment.deployment_id, state)
    ready = make_ready(ledger, "r-2")
    for state in ("live", "draining", "requested"):
        with pytest.raises(TransitionError):
            record_state(ledger, ready.deployment_id, state)


def test_ended_deployment_stays_ended(ledger: Ledger) -> None:
    """A failed release only returns by a new request."""
    deployment = request_deployment(ledger, "r-1")
    failed = record_state(ledger, deployment.deployment_id, "failed", detail="a file changed")
    assert failed.detail == "a file changed"
    for state in ALLOWED_TRANSITIONS:
        with pytest.raises(TransitionError):
            record_state(ledger, deployment.deployment_id, state)  # type: ignore[arg-type]
    assert request_deployment(ledger, "r-1").deployment_id != deployment.deployment_id


def test_withdrawn_verdict_blocks_request_and_switch(ledger: Ledger) -> None:
    """A better measurement may have refused the release between build and switch."""
    ready = make_ready(ledger, "r-1")
    record_verdict(ledger, make_verdict("refuse", adapter_id="adapter of r-1"))
    with pytest.raises(GateClosedError):
        switch_traffic(ledger, ready.deployment_id)
    with pytest.raises(GateClosedError):
        request_deployment(ledger, "r-1")
    with pytest.raises(UnknownRecordError):
        request_deployment(ledger, "r-none")
    assert find_live_deployment(ledger) is None


def test_concurrent_switches_leave_one_live(ledger: Ledger) -> None:
    """If two people switch at once, users get one release or the other, never both or none."""
    first = make_ready(ledger, "r-1").deployment_id
    switch_traffic(ledger, first)
    ids = [make_ready(ledger, "r-3").deployment_id] * 4
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: switch_traffic(ledger, name), ids))
    assert [d.state for d in list_deployments(ledger)].count("live") == 1
    assert sum(line.action.startswith("switched") for line in audit.list_entries(ledger)) == 2


def test_engine_key_is_readable_only_with_the_installation_key(ledger: Ledger) -> None:
    """A copy of the database must not give access to the engine around the gateway."""
    key, deployment = secrets.token_bytes(32), request_deployment(ledger, "r-1")
    sealed = seal_engine_key(key, deployment.deployment_id, "sesame")
    assert b"sesame" not in sealed
    record_state(ledger, deployment.deployment_id, "starting", engine_url="http://x", engine_key=sealed)
    stored = list_deployments(ledger)[0]
    assert open_engine_key(key, stored.deployment_id, stored.engine_key) == "sesame"
    with pytest.raises(LedgerError):
        open_engine_key(secrets.token_bytes(32), stored.deployment_id, stored.engine_key)
