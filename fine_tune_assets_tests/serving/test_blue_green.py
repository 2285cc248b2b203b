"""Switches, rollbacks and deaths, with real processes and requests under way: users notice none of them."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.addresses import socket_of
from fine_tune_assets.engines.processes import read_identity
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.serving.deployments import find_deployment, switch_live, want_release
from fine_tune_assets.serving.services import service_environment, start_services
from fine_tune_assets.serving.switch import ServingError, go_back, serve_release, wait_until_ready
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
    """A new release whose engine is killed while it starts: it fails, and users stay."""
    name = want_release(running.ledger, running.release()).deployment_id
    wait(lambda: (running.settings.layout.run / "engines" / name / "process.json").exists())
    os.kill(running.engine_pid(name), signal.SIGKILL)
    with pytest.raises(ServingError, match="failed"):
        wait_until_ready(running.ledger, name, 60)
    return name


def test_three_switches_under_load_lose_and_cut_nothing_though_green_is_killed_in_one(running: Running) -> None:
    """The promise that everything here is for."""
    first = running.live().release_id
    with streams_of(running, 4) as streams:
        wait(lambda: streams.whole >= 4)
        for _ in range(2):
            serve_release(running.ledger, running.release(), timeout_seconds=120, keep_old=lambda: KEEP)
        _kill_while_starting(running)
        last = serve_release(running.ledger, running.release(), timeout_seconds=120, keep_old=lambda: KEEP)
        reached = streams.whole
        wait(lambda: streams.whole >= reached + 8)
    assert streams.faults == []
    assert {first, last.release_id} <= streams.releases


def test_a_rollback_goes_to_the_engine_that_was_kept(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command that an operator types at night. No engine is started, so it takes seconds."""
    old = running.live()
    pid = running.engine_pid(old.deployment_id)
    serve_release(running.ledger, running.release(), timeout_seconds=120, keep_old=lambda: KEEP)
    wait(lambda: state_of(running, old.deployment_id) == "kept")
    for name, value in service_environment(running.settings).items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(main, ["status"]).output
    assert f"to {old.release_id}, in seconds" in shown
    with streams_of(running, 2) as streams:
        wait(lambda: streams.whole >= 2)
        done = CliRunner().invoke(main, ["rollback"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        wait(lambda: running.ask().headers["x-release-id"] == old.release_id)
    assert streams.faults == []
    assert running.live().deployment_id == old.deployment_id
    assert running.engine_pid(old.deployment_id) == pid


def test_a_release_that_fails_its_requests_is_left_by_itself_and_no_user_sees_one(running: Running) -> None:
    """Each failed request is asked once more of what served before; then users are there again for good."""
    blue = running.live()
    green = serve_release(running.ledger, running.release(), timeout_seconds=120, keep_old=lambda: KEEP)
    path = socket_of(green.engine_url or "")
    assert path is not None
    with answers_500(path), streams_of(running, 2) as streams:
        wait(lambda: running.live().deployment_id == blue.deployment_id, seconds=30)
    assert streams.faults == []
    left = find_deployment(running.ledger, green.deployment_id)
    assert left is not None
    assert "requests failed" in (left.rollback_reason or "")
    wait(lambda: state_of(running, green.deployment_id) == "stopped")


def test_a_green_engine_that_dies_after_the_switch_is_left_by_itself(running: Running) -> None:
    """Restarting it takes as long as a start; blue is there."""
    blue = running.live()
    green = serve_release(running.ledger, running.release(), timeout_seconds=120, keep_old=lambda: KEEP)
    os.kill(running.engine_pid(green.deployment_id), signal.SIGKILL)
    assert running.ask().headers["x-release-id"] == blue.release_id
    wait(lambda: running.live().deployment_id == blue.deployment_id, seconds=30)


@pytest.mark.parametrize("step", ["wanted", "ready", "switched", "rolled back"])
def test_a_supervisor_killed_at_any_step_leaves_one_live_and_the_next_one_goes_on(running: Running, step: str) -> None:
    """Blue is live or green is: never neither, and nobody has to repair anything."""
    blue = running.live()
    wanted = want_release(running.ledger, running.release())
    name = wanted.deployment_id
    if step != "wanted":
        wait_until_ready(running.ledger, name, 60)
    if step in ("switched", "rolled back"):
        switch_live(running.ledger, name, keep_until=wanted.wanted_at + KEEP)
    if step == "rolled back":
        go_back(running.ledger, timeout_seconds=60, by="a test")
    supervisor = read_identity(running.settings.layout.run / "supervisor.pid")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert running.live().deployment_id == (name if step == "switched" else blue.deployment_id)
    assert running.ask().status_code == 200
    start_services(running.settings, ["supervisor"])
    if step in ("wanted", "ready"):
        wait_until_ready(running.ledger, name, 60)
        switch_live(running.ledger, name)
    assert running.ask().status_code == 200
    with suppress(AssertionError):
        wait(lambda: state_of(running, name) in ("live", "stopped"), seconds=20)
    assert state_of(running, name) == ("stopped" if step == "rolled back" else "live")
