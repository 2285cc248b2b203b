"""Switches, rollbacks and crashes with real processes under load: users notice none of them."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import socket_path
from fine_tune_assets.engines.processes import read_identity
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.serving.deployments import find_deployment, request_deployment, switch_traffic
from fine_tune_assets.serving.rollout import ServingError, deploy_release, roll_back_release, wait_until_ready
from fine_tune_assets.serving.services import build_environment, start_services
from fine_tune_assets_tests.ledger.ledger_rows import deployment_of
from fine_tune_assets_tests.serving.load import (
    KEEP,
    Running,
    answers_500,
    installation,
    state_of,
    streams_of,
    wait,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serving")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("bg"),
        gateway={"port": free_port()},
        threads=1,
        rollback={"minimum_requests": 5},
    )
    with installation(settings) as made:
        yield made


def _kill_while_starting(running: Running) -> str:
    """Kill the engine of a new release while it starts: the deployment fails, and the live release stays."""
    name = request_deployment(running.ledger, running.release()).deployment_id
    wait(lambda: (running.settings.layout.run / "engines" / name / "process.json").exists())
    os.kill(running.engine_pid(name), signal.SIGKILL)
    with pytest.raises(ServingError, match=name):
        wait_until_ready(running.ledger, name, 60)
    return name


def test_three_switches_under_load_break_no_stream_even_if_an_engine_is_killed(running: Running) -> None:
    """The main guarantee of serving."""
    first = running.live().release_id
    with streams_of(running, 4) as streams:
        wait(lambda: streams.whole >= 4)
        for _ in range(2):
            deploy_release(running.ledger, running.release(), timeout_seconds=120, retention=lambda: KEEP)
        _kill_while_starting(running)
        last = deploy_release(running.ledger, running.release(), timeout_seconds=120, retention=lambda: KEEP)
        reached = streams.whole
        wait(lambda: streams.whole >= reached + 8)
    assert streams.faults == []
    assert {first, last.release_id} <= streams.releases


def test_a_rollback_uses_the_kept_engine(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fine-tune rollback` starts no engine, so it takes seconds."""
    old = running.live()
    pid = running.engine_pid(old.deployment_id)
    deploy_release(running.ledger, running.release(), timeout_seconds=120, retention=lambda: KEEP)
    wait(lambda: state_of(running, old.deployment_id) == "standby")
    for name, value in build_environment(running.settings).items():
        monkeypatch.setenv(name, value)
    shown = json.loads(CliRunner().invoke(main, ["status", "--json"]).stdout)
    assert old.release_id in shown["rollback"]
    assert "seconds" in shown["rollback"]
    with streams_of(running, 2) as streams:
        wait(lambda: streams.whole >= 2)
        done = CliRunner().invoke(main, ["rollback"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        wait(lambda: running.ask().headers["x-release-id"] == old.release_id)
    assert streams.faults == []
    assert running.live().deployment_id == old.deployment_id
    assert running.engine_pid(old.deployment_id) == pid


def test_a_release_that_fails_requests_is_rolled_back_without_user_errors(running: Running) -> None:
    """The previous release answers each failed request, then all of them."""
    blue = running.live()
    green = deploy_release(running.ledger, running.release(), timeout_seconds=120, retention=lambda: KEEP)
    path = socket_path(green.engine_url or "")
    assert path is not None
    with answers_500(path), streams_of(running, 2) as streams:
        wait(lambda: running.live().deployment_id == blue.deployment_id, seconds=30)
    assert streams.faults == []
    left = find_deployment(running.ledger, green.deployment_id)
    assert left is not None
    assert "requests failed" in (left.rollback_reason or "")
    wait(lambda: state_of(running, green.deployment_id) == "stopped")


def test_a_release_whose_engine_dies_after_the_switch_is_rolled_back(running: Running) -> None:
    """The previous engine still runs, while a restart would take minutes."""
    blue = running.live()
    green = deploy_release(running.ledger, running.release(), timeout_seconds=120, retention=lambda: KEEP)
    os.kill(running.engine_pid(green.deployment_id), signal.SIGKILL)
    wait(lambda: deployment_of(running.ledger, green.deployment_id).engine_url is None)  # it takes no more connections
    assert running.ask().headers["x-release-id"] == blue.release_id
    wait(lambda: running.live().deployment_id == blue.deployment_id, seconds=30)


@pytest.mark.parametrize("step", ["requested", "ready", "switched", "rolled back"])
def test_a_supervisor_killed_at_any_step_leaves_one_release_live_and_the_next_continues(
    running: Running, step: str
) -> None:
    """Exactly one colour is live, and no manual repair is needed."""
    blue = running.live()
    wanted = request_deployment(running.ledger, running.release())
    name = wanted.deployment_id
    if step != "requested":
        wait_until_ready(running.ledger, name, 60)
    if step in ("switched", "rolled back"):
        switch_traffic(running.ledger, name, standby_until=wanted.requested_at + KEEP)
    if step == "rolled back":
        roll_back_release(running.ledger, timeout_seconds=60, by="a test")
    supervisor = read_identity(running.settings.layout.run / "supervisor.pid")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert running.live().deployment_id == (name if step == "switched" else blue.deployment_id)
    assert running.ask().status_code == 200
    start_services(running.settings, ["supervisor"])
    if step in ("requested", "ready"):
        wait_until_ready(running.ledger, name, 60)
        switch_traffic(running.ledger, name)
    assert running.ask().status_code == 200
    with suppress(AssertionError):
        wait(lambda: state_of(running, name) in ("live", "stopped"), seconds=20)
    assert state_of(running, name) == ("stopped" if step == "rolled back" else "live")
