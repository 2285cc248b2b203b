import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, TransitionError, UnknownRecordError
from fine_tune_assets.ledger.serving.deployments import (
    MAY_FOLLOW,
    current_deployments,
    deployments,
    live_deployment,
    open_engine_key,
    report_state,
    seal_engine_key,
    switch_live,
    want_release,
    withdraw_engine,
)
from fine_tune_assets.ledger.serving.switch_log import serving_adapter
from fine_tune_assets.ledger.serving.verdicts import record_verdict, require_promotion
from fine_tune_assets_tests.ledger.made import FINGERPRINTS, live_of, make_verdict, record_promoted
from fine_tune_assets_tests.serving.tiny import make_ready


@pytest.fixture(autouse=True)
def _releases(ledger: Ledger) -> None:
    for release_id in ("r-1", "r-2"):
        record_promoted(ledger, release_id)


def test_colours_take_turns_and_the_old_one_drains(ledger: Ledger) -> None:
    """The new release starts beside the old one, and users are never without."""
    assert live_deployment(ledger) is None
    first = switch_live(ledger, make_ready(ledger, "r-1").deployment_id)
    second = make_ready(ledger, "r-3")
    assert (first.colour, second.colour) == ("blue", "green")
    assert live_deployment(ledger) == first
    switch_live(ledger, second.deployment_id)
    switch_live(ledger, second.deployment_id)
    assert [(d.release_id, d.state) for d in deployments(ledger)] == [("r-1", "draining"), ("r-3", "live")]
    third = switch_live(ledger, make_ready(ledger, "r-4").deployment_id)
    assert (third.colour, third.release_id) == ("blue", "r-4")


def test_a_release_that_was_compared_with_what_no_longer_serves_is_not_wanted(ledger: Ledger) -> None:
    """Better than the base model is not better than what replaced the base model meanwhile."""
    ready = make_ready(ledger, "r-2")
    report_state(ledger, ready.deployment_id, "stopped")
    switch_live(ledger, make_ready(ledger, "r-1").deployment_id)
    with pytest.raises(GateClosedError, match="adapter of r-1 serves now"):
        want_release(ledger, "r-2")
    with pytest.raises(GateClosedError, match="fine-tune materialize judge_scores"):
        require_promotion(ledger, **FINGERPRINTS | {"adapter_id": "adapter of r-2"})
    assert require_promotion(ledger, **FINGERPRINTS | {"adapter_id": "adapter of r-1"})


def test_what_serves_is_what_users_were_switched_to_even_if_its_engine_failed(ledger: Ledger) -> None:
    """A crash must not lower the bar for the next candidate to the base model."""
    assert serving_adapter(ledger) is None
    live = switch_live(ledger, make_ready(ledger, "r-1").deployment_id)
    report_state(ledger, live.deployment_id, "failed", detail="a file changed")
    assert live_deployment(ledger) is None
    assert serving_adapter(ledger) == "adapter of r-1"
    with pytest.raises(GateClosedError):
        want_release(ledger, "r-2")
    assert want_release(ledger, "r-1").state == "wanted"


def test_wanting_what_is_live_or_pending_starts_nothing_new(ledger: Ledger) -> None:
    """A second `make demo` must not start a second engine."""
    wanted = want_release(ledger, "r-1")
    assert want_release(ledger, "r-1") == wanted
    live = switch_live(ledger, make_ready(ledger, "r-1").deployment_id)
    assert want_release(ledger, "r-1") == live
    assert len(deployments(ledger)) == 1


def test_wanting_another_release_gives_up_the_one_that_is_not_live_yet(ledger: Ledger) -> None:
    """Two engines fit on the machine, three may not."""
    given_up = want_release(ledger, "r-1")
    wanted = want_release(ledger, "r-2")
    assert [d.deployment_id for d in current_deployments(ledger)] == [wanted.deployment_id]
    assert deployments(ledger)[0].deployment_id == given_up.deployment_id
    assert deployments(ledger)[0].detail == "given up for release r-2"


def test_only_a_ready_deployment_goes_live(ledger: Ledger) -> None:
    """Users must not be sent to an engine that is still loading."""
    deployment = want_release(ledger, "r-1")
    with pytest.raises(TransitionError, match="wanted"):
        switch_live(ledger, deployment.deployment_id)
    with pytest.raises(UnknownRecordError):
        switch_live(ledger, "none")


def test_an_engine_that_is_gone_leaves_no_address_and_no_key(ledger: Ledger) -> None:
    """Another program may get its port, and would be sent prompts. It stays live, and comes back at another address."""
    live = switch_live(ledger, make_ready(ledger, "r-1").deployment_id)
    for _ in range(2):
        withdraw_engine(ledger, live.deployment_id)
    withdraw_engine(ledger, "none")
    gone = live_of(ledger)
    assert (gone.deployment_id, gone.engine_url, gone.engine_key) == (live.deployment_id, None, None)
    assert [line.what for line in audit.lines(ledger)].count("withdrew engine") == 1
    back = report_state(ledger, live.deployment_id, "live", engine_url="http://127.0.0.1:2/v1", engine_key=b"k")
    assert back.engine_url == "http://127.0.0.1:2/v1"


def test_a_ready_deployment_whose_engine_is_gone_cant_go_live(ledger: Ledger) -> None:
    """Users would be taken from a release that answers to one that does not."""
    ready = make_ready(ledger, "r-1").deployment_id
    withdraw_engine(ledger, ready)
    with pytest.raises(TransitionError, match="no engine"):
        switch_live(ledger, ready)
    assert live_deployment(ledger) is None


def test_reporting_can_neither_skip_a_state_nor_make_anything_live(ledger: Ledger) -> None:
    """The supervisor reports; only a switch, behind the gate, moves users."""
    deployment = want_release(ledger, "r-1")
    for state in ("ready", "live", "draining"):
        with pytest.raises(TransitionError):
            report_state(ledger, deployment.deployment_id, state)
    ready = make_ready(ledger, "r-2")
    for state in ("live", "draining", "wanted"):
        with pytest.raises(TransitionError):
            report_state(ledger, ready.deployment_id, state)


def test_what_has_ended_stays_ended(ledger: Ledger) -> None:
    """A failed release comes back only by being wanted again."""
    deployment = want_release(ledger, "r-1")
    failed = report_state(ledger, deployment.deployment_id, "failed", detail="a file changed")
    assert failed.detail == "a file changed"
    for state in MAY_FOLLOW:
        with pytest.raises(TransitionError):
            report_state(ledger, deployment.deployment_id, state)  # type: ignore[arg-type]
    assert want_release(ledger, "r-1").deployment_id != deployment.deployment_id


def test_a_verdict_taken_back_closes_wanting_and_switching(ledger: Ledger) -> None:
    """Between release and switch a better measurement may have said no."""
    ready = make_ready(ledger, "r-1")
    record_verdict(ledger, make_verdict("refuse", adapter_id="adapter of r-1"))
    with pytest.raises(GateClosedError):
        switch_live(ledger, ready.deployment_id)
    with pytest.raises(GateClosedError):
        want_release(ledger, "r-1")
    with pytest.raises(UnknownRecordError):
        want_release(ledger, "r-none")
    assert live_deployment(ledger) is None


def test_two_switches_at_once_leave_one_live(ledger: Ledger) -> None:
    """Two people press the button: users get one release or the other, never both or none."""
    first = make_ready(ledger, "r-1").deployment_id
    switch_live(ledger, first)
    ids = [make_ready(ledger, "r-3").deployment_id] * 4
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: switch_live(ledger, name), ids))
    assert [d.state for d in deployments(ledger)].count("live") == 1
    assert sum(line.what.startswith("switched") for line in audit.lines(ledger)) == 2


def test_the_engine_key_is_readable_with_the_installations_key_only(ledger: Ledger) -> None:
    """Whoever copies the database must not be able to talk to the engine past the gateway."""
    key, deployment = secrets.token_bytes(32), want_release(ledger, "r-1")
    sealed = seal_engine_key(key, deployment.deployment_id, "sesame")
    assert b"sesame" not in sealed
    report_state(ledger, deployment.deployment_id, "starting", engine_url="http://x", engine_key=sealed)
    stored = deployments(ledger)[0]
    assert open_engine_key(key, stored.deployment_id, stored.engine_key) == "sesame"
    with pytest.raises(LedgerError):
        open_engine_key(secrets.token_bytes(32), stored.deployment_id, stored.engine_key)
