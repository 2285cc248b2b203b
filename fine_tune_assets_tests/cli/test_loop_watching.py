"""The demo of the loop only looks on: a run that fails, and a verdict that holds, end it with their reason."""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fine_tune_assets.cli.loop.people import LoopError
from fine_tune_assets.cli.loop.watching import EndedRun, Watch, has_switched
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.deployments import report_state, switch_live, want_release
from fine_tune_assets.ledger.verdicts import list_verdicts, record_verdict
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.ledger.made import make_verdict, record_promoted


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = fresh_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


@dg.asset
def makes_it() -> None:
    """Ends well."""


@dg.asset
def makes_it_not() -> None:
    raise RuntimeError("no")


def _make_live(ledger: Ledger, release_id: str) -> None:
    record_promoted(ledger, release_id)
    wanted = want_release(ledger, release_id)
    for state in ("starting", "ready"):
        report_state(ledger, wanted.deployment_id, state, engine_url="http://127.0.0.1:1", engine_key=b"sealed")
    switch_live(ledger, wanted.deployment_id)


def _run(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> None:
    dg.materialize([asset], instance=instance, raise_on_error=False)


def test_each_run_is_told_once_and_those_of_before_are_not(instance: dg.DagsterInstance) -> None:
    _run(makes_it, instance)
    told: list[EndedRun] = []
    watch = Watch(instance, told.append)
    _run(makes_it, instance)
    watch.look()
    watch.look()
    assert [run.is_success for run in told] == [True]
    assert watch.ended == told


def test_a_run_that_fails_ends_the_wait(instance: dg.DagsterInstance) -> None:
    """Nobody should wait an hour for what will not come."""
    watch = Watch(instance, lambda _: None)
    _run(makes_it_not, instance)
    with pytest.raises(LoopError, match="failed"):
        watch.until(lambda: False, "anything", 60)


def test_what_was_quiet_before_says_nothing_of_now(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While users ask and correct nobody looks, and what runs then is seen at the next look only."""
    watch = Watch(instance, lambda _: None)
    monkeypatch.setattr("fine_tune_assets.cli.loop.watching.QUIET_SECONDS", 0.5)
    time.sleep(0.6)
    quiet: list[bool] = []
    watch.until(lambda: quiet.append(watch.is_quiet) is None, "anything", 60)
    assert quiet == [False]


def test_what_does_not_come_in_time_is_named(instance: dg.DagsterInstance) -> None:
    with pytest.raises(LoopError, match="Not within 0 s: another release"):
        Watch(instance, lambda _: None).until(lambda: False, "another release", 0)


def test_a_verdict_that_holds_ends_the_wait_with_its_reason(ledger: Ledger) -> None:
    """The demo shows a closed gate, and signs nothing in anybody's name."""
    _make_live(ledger, "r-1")
    before = list_verdicts(ledger, 1)[0].verdict_id
    assert not has_switched(ledger, "r-1", before)
    record_verdict(ledger, make_verdict("hold", adapter_id="a-2", reasons=("Not clearly better.",)))
    with pytest.raises(LoopError, match="hold: Not clearly better"):
        has_switched(ledger, "r-1", before)


def test_it_has_switched_when_another_release_is_live(ledger: Ledger) -> None:
    _make_live(ledger, "r-1")
    before = list_verdicts(ledger, 1)[0].verdict_id
    _make_live(ledger, "r-2")
    assert has_switched(ledger, "r-1", before)
    assert not has_switched(ledger, "r-2", before)
