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
from fine_tune_assets.ledger.serving.deployments import live_deployment
from fine_tune_assets.serving.services import (
    ServiceError,
    known_services,
    service_environment,
    service_states,
    start_services,
    stop_services,
)
from fine_tune_assets.serving.switch import ServingError, serve_release
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.ledger.made import live_of
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny import build_empty_release, build_release, engine_process, service_process

OURS = ("supervisor", "gateway")


@pytest.fixture
def installation(settings: Settings, ledger: Ledger) -> Iterator[Settings]:  # noqa: ARG001
    own = changed(settings, gateway={"port": free_port()})
    yield own
    stop_services(own, OURS)


def _running(settings: Settings) -> set[str]:
    return {state.name for state in service_states(settings) if state.is_up}


def _assert_live_without_engine(ledger: Ledger) -> None:
    live = live_of(ledger)
    assert (live.engine_url, live.engine_key) == (None, None)


def test_starting_and_stopping_twice_is_the_same_as_once(installation: Settings) -> None:
    """`make up` is typed again by whoever is not sure."""
    start_services(installation, OURS)
    pids = {state.pid for state in service_states(installation)}
    start_services(installation, OURS)
    assert {state.pid for state in service_states(installation)} == pids
    assert _running(installation) == set(OURS)
    reply = httpx.get(f"http://127.0.0.1:{installation.gateway.port}/health", trust_env=False)
    assert reply.status_code == 200
    stop_services(installation, OURS)
    stop_services(installation, OURS)
    assert _running(installation) == set()


def test_a_release_goes_live_through_the_running_supervisor_stays_and_ends_with_it(
    installation: Settings, ledger: Ledger
) -> None:
    """The path of `served_models`: a bad release costs nobody their answers, and `make down` leaves no engine on the machine."""
    start_services(installation, ["supervisor"])
    live = serve_release(ledger, build_release(installation, ledger, "One."), timeout_seconds=60)
    assert live_deployment(ledger) == live
    assert serve_release(ledger, live.release_id, timeout_seconds=1) == live
    engine = engine_process(installation, live.deployment_id)
    assert is_alive(engine)
    bad = build_empty_release(installation, ledger, "Two.", {})
    (installation.layout.releases / bad / "extra").write_text("")
    with pytest.raises(ServingError, match="failed"):
        serve_release(ledger, bad, timeout_seconds=60)
    assert live_deployment(ledger) == live
    stop_services(installation, ["supervisor"])
    assert not is_alive(engine)
    _assert_live_without_engine(ledger)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_no_engine_is_left_by_a_supervisor_that_could_not_stop_it(
    installation: Settings, ledger: Ledger, number: signal.Signals
) -> None:
    """It was killed, or is busy for longer than the grace: `make down` must free the memory all the same."""
    start_services(installation, ["supervisor"])
    live = serve_release(ledger, build_release(installation, ledger, "One."), timeout_seconds=60)
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


def test_stopping_leaves_the_engines_of_a_supervisor_that_others_started(
    installation: Settings, ledger: Ledger
) -> None:
    """systemd runs it, and somebody types `make down`: users must go on being answered."""
    start_services(installation, ["supervisor"])
    live = serve_release(ledger, build_release(installation, ledger, "One."), timeout_seconds=60)
    engine = engine_process(installation, live.deployment_id)
    pid_file = installation.layout.run / "supervisor.pid"
    record = pid_file.read_text()
    pid_file.unlink()
    stop_services(installation, ["supervisor"])
    assert is_alive(engine)
    pid_file.write_text(record)


def test_without_a_supervisor_serving_says_what_to_start(settings: Settings, ledger: Ledger) -> None:
    """The most likely reason of all that nothing happens."""
    with pytest.raises(ServingError, match="fine-tune up"):
        serve_release(ledger, build_release(settings, ledger, "One."), timeout_seconds=0.3)


def test_a_taken_port_is_an_error_that_names_it(installation: Settings) -> None:
    """Otherwise another program's answer would pass for the gateway's."""
    port = installation.gateway.port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ServiceError, match=str(port)):
        start_services(installation, ["gateway"])
    assert _running(installation) == set()


def test_a_service_that_ends_at_once_is_an_error_with_its_log(installation: Settings) -> None:
    """A settings mistake shows in the log, and the log must be findable."""
    mistaken = changed(installation, gateway={"host": "0.0.0.0"})
    with pytest.raises(ServiceError, match=r"gateway\.log"):
        start_services(mistaken, ["gateway"])
    assert "loopback only" in (installation.layout.run / "gateway.log").read_text()


def test_a_second_supervisor_on_the_same_folder_refuses(installation: Settings) -> None:
    """Two of them would start every engine twice."""
    start_services(installation, ["supervisor"])
    second = subprocess.run(
        known_services(installation)["supervisor"].command,
        env=service_environment(installation),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert second.returncode == 1
    assert "Another supervisor" in second.stderr


def test_a_killed_service_is_started_again_by_the_next_up(installation: Settings) -> None:
    """Its pid file is still there, and names nobody."""
    start_services(installation, ["gateway"])
    identity = service_process(installation, "gateway")
    os.kill(identity.pid, signal.SIGKILL)
    wait(lambda: not is_alive(identity))  # a kill takes effect a moment later
    start_services(installation, ["gateway"])
    assert service_process(installation, "gateway") != identity


def test_an_unknown_service_is_named(settings: Settings) -> None:
    """A typing mistake must not pass as done."""
    with pytest.raises(ServiceError, match="gatway"):
        start_services(settings, ["gatway"])
