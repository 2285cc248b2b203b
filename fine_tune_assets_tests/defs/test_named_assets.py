"""`fine-tune materialize ASSET` while the daemon runs: the daemon starts exactly what was asked for, once."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.cli.services import DAEMON
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.named_assets import named_assets_requested
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.engines.processes import identify, start_process, stop_process, write_identity


@pytest.fixture
def daemon(installation_dir: Path) -> Iterator[Path]:  # noqa: ARG001
    """A process under the daemon's pid file: what the command asks is whether it runs."""
    run = load_settings().layout.run
    run.mkdir(parents=True, exist_ok=True)
    process = start_process(("sleep", "600"), cwd=run, environment={}, log=run / "daemon.log", die_with_parent=True)
    identity = identify(process.pid)
    assert identity is not None
    write_identity(run / f"{DAEMON}.pid", identity)
    yield run
    stop_process(identity, run / "daemon.log", 5.0)
    process.wait()


def _materialize(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["materialize", *arguments])


def _tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=defs, resources={"installation": Installation()}
    )
    found = named_assets_requested(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


@pytest.mark.usefixtures("daemon")
def test_the_daemon_starts_what_was_asked_for_once(instance: dg.DagsterInstance) -> None:
    """An error names this command; it must work while services run, and not train twice."""
    result = _materialize("base_models")
    assert result.exit_code == 0, result.output
    asked = _tick(instance)
    assert isinstance(asked, dg.SensorResult)
    (request,) = asked.run_requests or []
    assert request.asset_selection == [dg.AssetKey("base_models")]
    assert isinstance(_tick(instance, asked.cursor), dg.SkipReason)
    assert isinstance(_tick(instance), dg.SkipReason), "a request that was started is removed"


@pytest.mark.usefixtures("daemon")
def test_a_tick_that_was_cut_off_loses_no_request(instance: dg.DagsterInstance) -> None:
    """The cursor is stored with the runs; until then the request stays, under the same run key."""
    _materialize("base_models")
    first, again = _tick(instance), _tick(instance)
    assert isinstance(first, dg.SensorResult)
    assert isinstance(again, dg.SensorResult)
    assert [r.run_key for r in first.run_requests or []] == [r.run_key for r in again.run_requests or []]


@pytest.mark.usefixtures("daemon")
def test_an_asset_of_batches_is_started_for_each_batch(instance: dg.DagsterInstance) -> None:
    """With what its step makes besides: reports and unreadable_reports are one step."""
    instance.add_dynamic_partitions(str(BATCHES.name), ["2026-01", "2026-02"])
    _materialize("reports", "base_models")
    asked = _tick(instance)
    assert isinstance(asked, dg.SensorResult)
    found = [(r.partition_key, {k.to_user_string() for k in r.asset_selection or []}) for r in asked.run_requests or []]
    assert [partition for partition, _ in found] == ["2026-01", "2026-02", None]
    assert all({"reports", "unreadable_reports"} <= assets for partition, assets in found if partition)
    assert found[-1] == (None, {"base_models"})


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize("arguments", [(), ("--only", "base_models"), ("bass_models",)])
def test_what_the_daemon_can_not_do_is_refused_and_leaves_no_request(
    instance: dg.DagsterInstance, arguments: tuple[str, ...]
) -> None:
    """Two at work on the same assets would do everything twice; a wrong name must not be silently nothing."""
    assert _materialize(*arguments).exit_code == 1
    assert isinstance(_tick(instance), dg.SkipReason)


def test_a_request_that_dagster_gets_can_be_started(daemon: Path, instance: dg.DagsterInstance) -> None:
    """The daemon checks each request against the sensor's target: one that it rejects fails the tick for ever."""
    instance.add_dynamic_partitions(str(BATCHES.name), ["2026-01"])
    assert _materialize("reports", "base_models").exit_code == 0
    assert daemon.is_dir()
    with dg.SensorEvaluationContext(
        instance_ref=instance.get_ref(),
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=None,
        log_key=None,
        repository_name=None,
        repository_def=defs.get_repository_def(),
        resources={"installation": Installation()},
    ) as context:
        assert len(named_assets_requested.evaluate_tick(context).run_requests or []) == 2
