"""How the demo ends: a verdict that stops a candidate is not a failure, and the demo waits for an engine that is starting."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from fine_tune_assets.cli.demo.demo_command import (
    GraphError,
    deploy_shipped,
    explain_blocking_verdict,
    find_production_release,
    wait_until_answering,
    write_recipe_with_judge,
)
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.core.shipped_release import ShippedRelease, find_shipped_release
from fine_tune_assets.defs.local_run import StageRun
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.ledger_tables import verdicts
from fine_tune_assets.ledger.serving.deployments import Deployment, clear_engine, find_live_deployment, record_state
from fine_tune_assets.ledger.serving.verdicts import record_verdict, sign_hold
from fine_tune_assets.recipes.loader import dump_recipe, load_recipe
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.scripted_engine import asking
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict

STOPPED = StageRun(("promotion_verdicts",), None, False, "run", ("why",), is_blocked_by_verdict=True)
FAILED = StageRun(("adapters",), None, False, "run", ("out of memory",))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    opened = open_ledger(settings)
    yield opened
    opened.close()


@pytest.mark.parametrize("decision", ["hold", "refuse"])
def test_a_verdict_that_stops_a_candidate_is_reported_with_its_next_step(
    settings: Settings, ledger: Ledger, decision: str
) -> None:
    """The demo then exits with 0: the gate worked."""
    verdict = make_verdict(decision, reasons=("It may have lost arithmetic.",))
    record_verdict(ledger, verdict)
    words = explain_blocking_verdict(settings, [STOPPED])
    assert verdict.verdict_id in words
    assert "It may have lost arithmetic." in words


def test_any_other_failure_is_a_failure_of_the_demo(settings: Settings, ledger: Ledger) -> None:
    """An earlier hold must not hide a training that ran out of memory today."""
    record_verdict(ledger, make_verdict("hold"))
    assert explain_blocking_verdict(settings, [STOPPED, FAILED]) == ""
    assert explain_blocking_verdict(settings, [FAILED]) == ""
    assert explain_blocking_verdict(settings, []) == ""


def test_a_gate_that_is_closed_despite_its_verdict_is_a_failure(settings: Settings, ledger: Ledger) -> None:
    """The verdict promotes or is signed, but the gate is closed because a document or a key is missing."""
    assert explain_blocking_verdict(settings, [STOPPED]) == ""
    hold = make_verdict("hold")
    record_verdict(ledger, hold)
    sign_hold(ledger, hold.verdict_id, "Chief", "Read fifty answers.")
    assert explain_blocking_verdict(settings, [STOPPED]) == ""
    record_verdict(ledger, make_verdict("promote"))
    assert explain_blocking_verdict(settings, [STOPPED]) == ""


def test_a_verdict_that_was_changed_in_the_ledger_is_a_failure(settings: Settings, ledger: Ledger) -> None:
    record_verdict(ledger, make_verdict("refuse"))
    with ledger.begin() as connection:
        connection.execute(sa.update(verdicts).values(decision="hold"))
    assert explain_blocking_verdict(settings, [STOPPED]) == ""


@dataclass
class Served:
    settings: Settings
    ledger: Ledger
    live: Deployment

    def start_engine(self) -> None:
        found = self.live
        record_state(self.ledger, found.deployment_id, "live", engine_url=found.engine_url, engine_key=found.engine_key)


@pytest.fixture
def served(settings: Settings, tmp_path: Path) -> Iterator[Served]:
    """A real gateway and a live release whose engine is not running, as after `make down` and a restart."""
    with asking(settings, tmp_path / "engine.sock") as (own, _):
        ledger = open_ledger(own)
        live = find_live_deployment(ledger)
        assert live is not None
        clear_engine(ledger, live.deployment_id)
        yield Served(own, ledger, live)
        ledger.close()


def test_after_a_start_the_demo_waits_for_the_engine_of_the_live_release(served: Served) -> None:
    """After `make down` and `make demo`, the gateway starts before the engine and answers with 503."""
    timer = threading.Timer(1.5, served.start_engine)
    timer.start()
    started = time.monotonic()
    wait_until_answering(served.settings, timeout_seconds=60)
    assert time.monotonic() - started >= 1.5
    timer.join()


def test_an_engine_that_never_starts_ends_the_wait_and_names_the_log(served: Served) -> None:
    with pytest.raises(GraphError, match=r"supervisor\.log"):
        wait_until_answering(served.settings, timeout_seconds=1)


def test_the_demo_waits_for_an_unreachable_gateway(settings: Settings) -> None:
    with pytest.raises(GraphError, match="does not answer"):
        wait_until_answering(changed(settings, gateway={"port": 9}), timeout_seconds=0.5)


def test_the_answering_release_is_named_with_its_origin(served: Served) -> None:
    answering = find_production_release(served.settings)
    assert answering is not None
    assert answering.description == f"release {served.live.release_id}, built here"


def test_the_shipped_release_does_not_replace_a_live_release(served: Served, tmp_path: Path) -> None:
    """A second demo, or one on an installation with its own model, must not switch users back."""
    deploy_shipped(served.settings, ShippedRelease(tmp_path / "none.tar", tmp_path / "none.pub"))
    live = find_live_deployment(served.ledger)
    assert live is not None
    assert live.deployment_id == served.live.deployment_id


def test_a_shipped_release_needs_its_archive_and_its_key(tmp_path: Path) -> None:
    release_id = fingerprint_text("r")[:16]
    assert find_shipped_release(tmp_path) is None
    (tmp_path / f"{release_id}.tar").touch()
    assert find_shipped_release(tmp_path) is None
    (tmp_path / "release.pub").touch()
    found = find_shipped_release(tmp_path)
    assert found is not None
    assert found.release_id == release_id


def test_a_recipe_with_a_judge_of_its_own_is_valid_and_differs_in_the_judge_alone(installation_dir: Path) -> None:
    settings = load_settings()
    model = installation_dir / "judge.gguf"
    made = dump_recipe(load_recipe(str(write_recipe_with_judge(settings, model))))
    before = dump_recipe(load_recipe(settings.recipe))
    assert (made["judge"]["kind"], made["judge"]["model"]) == ("statements", str(model))
    assert {name for name in made if made[name] != before[name]} == {"judge"}
