"""How the demo ends: a verdict that stops a candidate is no failure, an engine that is still starting is waited for."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from fine_tune_assets.cli.demo.demo import (
    GraphError,
    answering_now,
    serve_shipped,
    verdict_that_stops,
    wait_until_answering,
)
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.shipped_release import ShippedRelease, shipped_release
from fine_tune_assets.defs.local_run import StageRun
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.schema import verdicts
from fine_tune_assets.ledger.serving.deployments import Deployment, live_deployment, report_state, withdraw_engine
from fine_tune_assets.ledger.serving.verdicts import record_verdict, sign_hold
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.asking import asking
from fine_tune_assets_tests.ledger.made import make_verdict

STOPPED = StageRun(("promotion_verdicts",), None, False, "run", ("why",), is_stopped_by_verdict=True)
FAILED = StageRun(("adapters",), None, False, "run", ("out of memory",))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    opened = open_ledger(settings.database_url)
    yield opened
    opened.close()


@pytest.mark.parametrize("decision", ["hold", "refuse"])
def test_a_verdict_that_stops_a_candidate_is_told_with_its_next_step(
    settings: Settings, ledger: Ledger, decision: str
) -> None:
    """The demo ends with status 0 then: the gate worked."""
    verdict = make_verdict(decision, reasons=("It may have lost arithmetic.",))
    record_verdict(ledger, verdict)
    words = verdict_that_stops(settings, [STOPPED])
    assert verdict.verdict_id in words
    assert "It may have lost arithmetic." in words


def test_whatever_else_failed_is_a_failure(settings: Settings, ledger: Ledger) -> None:
    """A hold of last week must not hide a training that ran out of memory today."""
    record_verdict(ledger, make_verdict("hold"))
    assert verdict_that_stops(settings, [STOPPED, FAILED]) == ""
    assert verdict_that_stops(settings, [FAILED]) == ""
    assert verdict_that_stops(settings, []) == ""


def test_a_closed_gate_without_a_verdict_that_closes_it_is_a_failure(settings: Settings, ledger: Ledger) -> None:
    """It promotes, or an approver signed it, and the gate is closed all the same: a document is missing, or a key."""
    assert verdict_that_stops(settings, [STOPPED]) == ""
    hold = make_verdict("hold")
    record_verdict(ledger, hold)
    sign_hold(ledger, hold.verdict_id, "Chief", "Read fifty answers.")
    assert verdict_that_stops(settings, [STOPPED]) == ""
    record_verdict(ledger, make_verdict("promote"))
    assert verdict_that_stops(settings, [STOPPED]) == ""


def test_a_verdict_that_was_changed_in_the_ledger_is_a_failure(settings: Settings, ledger: Ledger) -> None:
    record_verdict(ledger, make_verdict("refuse"))
    with ledger.begin() as connection:
        connection.execute(sa.update(verdicts).values(decision="hold"))
    assert verdict_that_stops(settings, [STOPPED]) == ""


@dataclass
class Served:
    settings: Settings
    ledger: Ledger
    live: Deployment

    def start_engine(self) -> None:
        found = self.live
        report_state(self.ledger, found.deployment_id, "live", engine_url=found.engine_url, engine_key=found.engine_key)


@pytest.fixture
def served(settings: Settings, tmp_path: Path) -> Iterator[Served]:
    """A real gateway in front of a live release whose engine is not up: as after `make down` and a new start."""
    with asking(settings, tmp_path / "engine.sock") as (own, _):
        ledger = open_ledger(own.database_url)
        live = live_deployment(ledger)
        assert live is not None
        withdraw_engine(ledger, live.deployment_id)
        yield Served(own, ledger, live)
        ledger.close()


def test_after_a_start_the_demo_waits_for_the_engine_of_the_live_release(served: Served) -> None:
    """`make down`, then `make demo`: the gateway is up before the engine, and said 503."""
    timer = threading.Timer(1.5, served.start_engine)
    timer.start()
    started = time.monotonic()
    wait_until_answering(served.settings, timeout_seconds=60)
    assert time.monotonic() - started >= 1.5
    timer.join()


def test_an_engine_that_never_comes_up_ends_the_wait_with_where_to_look(served: Served) -> None:
    with pytest.raises(GraphError, match=r"supervisor\.log"):
        wait_until_answering(served.settings, timeout_seconds=1)


def test_a_gateway_that_is_away_is_waited_for_too(settings: Settings) -> None:
    with pytest.raises(GraphError, match="does not answer"):
        wait_until_answering(changed(settings, gateway={"port": 9}), timeout_seconds=0.5)


def test_what_answers_is_named_with_where_it_was_made(served: Served) -> None:
    answering = answering_now(served.settings)
    assert answering is not None
    assert answering.in_words == f"release {served.live.release_id}, made here"


def test_the_shipped_release_is_left_alone_where_a_release_is_live(served: Served, tmp_path: Path) -> None:
    """A second demo, or one on an installation with its own model, switches nobody back."""
    serve_shipped(served.settings, ShippedRelease(tmp_path / "none.tar", tmp_path / "none.pub"))
    live = live_deployment(served.ledger)
    assert live is not None
    assert live.deployment_id == served.live.deployment_id


def test_a_shipped_release_is_found_by_its_archive_and_its_key(tmp_path: Path) -> None:
    release_id = fingerprint_text("r")[:16]
    assert shipped_release(tmp_path) is None
    (tmp_path / f"{release_id}.tar").touch()
    assert shipped_release(tmp_path) is None
    (tmp_path / "release.pub").touch()
    found = shipped_release(tmp_path)
    assert found is not None
    assert found.release_id == release_id
