import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.processes import is_alive
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import find_live_deployment
from fine_tune_assets.serving.rollout import ServingError, deploy_release
from fine_tune_assets.serving.services import (
    ServiceError,
    build_environment,
    known_services,
    read_service_states,
    start_services,
    stop_services,
)
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.ledger.ledger_rows import live_of
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny_releases import (
    build_empty_release,
    build_release,
    engine_process,
    service_process,
)

OURS = ("supervisor", "gateway")


@pytest.fixture
def installation(settings: Settings, ledger: Ledger) -> Iterator[Settings]:  # noqa: ARG001
    own = changed(settings, gateway={"port": free_port()})
    yield own
    stop_services(own, OURS)


def _running(settings: Settings) -> set[str]:
    return {state.name for state in read_service_states(settings) if state.is_up}


def _assert_live_without_engine(ledger: Ledger) -> None:
    live = live_of(ledger)
    assert (live.engine_url, live.engine_key) == (None, None)


def test_starting_and_stopping_twice_is_the_same_as_once(installation: Settings) -> None:
    """`make up` may be run twice."""
    start_services(installation, OURS)
    pids = {state.pid for state in read_service_states(installation)}
    start_services(installation, OURS)
    assert {state.pid for state in read_service_states(installation)} == pids
    assert _running(installation) == set(OURS)
    reply = httpx.get(f"http://127.0.0.1:{installation.gateway.port}/health", trust_env=False)
    assert reply.status_code == 200
    stop_services(installation, OURS)
    stop_services(installation, OURS)
    assert _running(installation) == set()


def test_a_release_goes_live_with_the_supervisor_and_ends_with_it(installation: Settings, ledger: Ledger) -> None:
    """The path of `served_models`: a bad release does not affect the live one, and `make down` stops every engine."""
    start_services(installation, ["supervisor"])
    live = deploy_release(ledger, build_release(installation, ledger, "One."), timeout_seconds=60)
    assert find_live_deployment(ledger) == live
    assert deploy_release(ledger, live.release_id, timeout_seconds=1) == live
    engine = engine_process(installation, live.deployment_id)
    assert is_alive(engine)
    bad = build_empty_release(installation, ledger, "Two.", {})
    (installation.layout.releases / bad / "extra").write_text("")
    with pytest.raises(ServingError, match=bad):
        deploy_release(ledger, bad, timeout_seconds=60)
    assert find_live_deployment(ledger) == live
    stop_services(installation, ["supervisor"])
    assert not is_alive(engine)
    _assert_live_without_engine(ledger)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_make_down_stops_the_engines_of_a_killed_or_stuck_supervisor(
    installation: Settings, ledger: Ledger, number: signal.Signals
) -> None:
    """`make down` must free the memory in any case."""
    start_services(installation, ["supervisor"])
    live = deploy_release(ledger, build_release(installation, ledger, "One."), timeout_seconds=60)
    folder = installation.layout.run / "engines" / live.deployment_id
    engine = engine_process(installation, live.deployment_id)
    supervisor = service_process(installation, "supervisor")
    os.kill(supervisor.pid, number)
    stop_services(installation, ["gateway"])
    assert is_alive(engine)
    stop_services(installation, ["supervisor"], grace_seconds=1)
    assert not is_alive(engine)
    assert [path.name for path in folder.iterdir()] == ["engine.log"]
    _assert_live_without_engine(ledger)


def test_stopping_keeps_the_engines_of_a_supervisor_started_elsewhere(installation: Settings, ledger: Ledger) -> None:
    """systemd may run the supervisor: `make down` must not interrupt it."""
    start_services(installation, ["supervisor"])
    live = deploy_release(ledger, build_release(installation, ledger, "One."), timeout_seconds=60)
    engine = engine_process(installation, live.deployment_id)
    pid_file = installation.layout.run / "supervisor.pid"
    record = pid_file.read_text()
    pid_file.unlink()
    stop_services(installation, ["supervisor"])
    assert is_alive(engine)
    pid_file.write_text(record)


def test_without_a_supervisor_the_error_names_the_command_to_start_it(settings: Settings, ledger: Ledger) -> None:
    """The most common reason why a deployment does not start."""
    with pytest.raises(ServingError, match="fine-tune up"):
        deploy_release(ledger, build_release(settings, ledger, "One."), timeout_seconds=0.3)


def test_a_port_in_use_is_named(installation: Settings) -> None:
    """Otherwise another program's response would count as the gateway's."""
    port = installation.gateway.port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ServiceError, match=str(port)):
        start_services(installation, ["supervisor", "gateway"])
    assert _running(installation) == set()  # nothing was started


def test_a_service_that_ends_at_once_is_reported_with_its_log(installation: Settings) -> None:
    """The log shows the wrong setting."""
    mistaken = changed(installation, gateway={"host": "0.0.0.0"})
    with pytest.raises(ServiceError, match=r"gateway\.log"):
        start_services(mistaken, ["gateway"])
    assert "gateway.host is 0.0.0.0" in (installation.layout.run / "gateway.log").read_text()


def test_a_second_supervisor_on_the_same_folder_is_refused(installation: Settings) -> None:
    """Two supervisors would start every engine twice."""
    start_services(installation, ["supervisor"])
    second = subprocess.run(
        known_services(installation)["supervisor"].command,
        env=build_environment(installation),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert second.returncode == 1
    assert "Another supervisor" in second.stderr


def test_the_next_up_restarts_a_killed_service(installation: Settings) -> None:
    """Its stale pid file names no process."""
    start_services(installation, ["gateway"])
    identity = service_process(installation, "gateway")
    os.kill(identity.pid, signal.SIGKILL)
    wait(lambda: not is_alive(identity))  # a kill takes effect a moment later
    start_services(installation, ["gateway"])
    assert service_process(installation, "gateway") != identity


def test_an_unknown_service_is_refused_by_name(settings: Settings) -> None:
    """A typo must not pass silently."""
    with pytest.raises(ServiceError, match="gatway"):
        start_services(settings, ["gatway"])
