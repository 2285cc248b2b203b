"""Canary releases with real processes under load: a good release goes live, a bad one fails, and users notice neither. Whatever
is killed, exactly one colour is live in the end."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import socket_path
from fine_tune_assets.engines.processes import is_alive, read_identity
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.gateway.answers.canary_routing import is_in_canary
from fine_tune_assets.ledger.encryption import KEY_NAME, derive_key
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.canary_records import find_open_canary
from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan, CanaryRelease, find_canary
from fine_tune_assets.ledger.serving.deployments import find_deployment
from fine_tune_assets.serving.rollback_rules import ENGINE_FAILED
from fine_tune_assets.serving.rollout import ServingError, deploy_release
from fine_tune_assets.serving.services import build_environment, start_services
from fine_tune_assets_tests.serving.load import (
    KEEP,
    OURS,
    Running,
    answers_500,
    installation,
    state_of,
    streams_of,
    wait,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serving")]
PLAN = CanaryPlan(traffic_percent=50, duration_seconds=8, minimum_requests=5, maximum_seconds=90)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("trial"),
        gateway={"port": free_port()},
        threads=1,
        rollback={"minimum_requests": 5},
        canary={"percent": 50},
        drift={"enabled": False},
    )
    with installation(settings) as made:
        yield made


@dataclass
class Serving:
    """Runs `deploy_release` like the step, in a thread."""

    running: Running
    plan: CanaryPlan = PLAN
    faults: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.release_id = self.running.release()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            deploy_release(
                self.running.ledger, self.release_id, timeout_seconds=120, retention=lambda: KEEP, canary=self.plan
            )
        except ServingError as error:
            self.faults.append(error)

    def started(self) -> str:
        """Wait for the canary release to start; returns its deployment."""
        return started(self.running)

    def end(self) -> str | None:
        """Wait for the end; returns the error message, None on success."""
        self._thread.join(200)
        assert not self._thread.is_alive()
        return str(self.faults[0]) if self.faults else None


def started(running: Running) -> str:
    def is_so() -> bool:
        found = find_open_canary(running.ledger)
        return found is not None and found[0].is_running

    wait(is_so, 120)
    found = find_open_canary(running.ledger)
    assert found is not None
    return found[0].deployment_id


def trial_of(running: Running, name: str) -> CanaryRelease:
    found = find_canary(running.ledger, name)
    assert found is not None
    return found


def callers(running: Running, name: str, takers: int, others: int) -> list[str]:
    """API keys of callers that the canary release answers (`takers`), and of others."""
    key = derive_key(read_or_create_key(running.settings.layout.keys, KEY_NAME), "trials")
    found: dict[bool, list[str]] = {True: [], False: []}
    number = 0
    while len(found[True]) < takers or len(found[False]) < others:
        number += 1
        new = create_key(running.ledger, f"{name} {number}", ["chat"])
        found[is_in_canary(key, name, f"key:{new.key_id}", PLAN.traffic_percent)].append(new.secret)
    return found[True][:takers] + found[False][:others]


def kill(running: Running, service: str) -> None:
    identity = read_identity(running.settings.layout.run / f"{service}.pid")
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    wait(lambda: not is_alive(identity))


def test_a_good_release_answers_some_callers_and_then_all(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stream breaks, and `fine-tune status` shows the canary release."""
    for name, value in build_environment(running.settings).items():
        monkeypatch.setenv(name, value)
    blue, serving = running.live(), Serving(running)
    green = serving.started()
    keys = callers(running, green, takers=2, others=2)
    with streams_of(running, 4, keys) as streams:
        wait(lambda: streams.whole >= 4)
        shown = json.loads(CliRunner().invoke(main, ["status", "--json"]).stdout)
        assert serving.end() is None
        reached = streams.whole
        wait(lambda: streams.whole >= reached + 8)
    assert streams.faults == []
    assert streams.releases == {blue.release_id, serving.release_id}
    assert running.live().deployment_id == green
    (canary,) = [one["canary"] for one in shown["deployments"] if one["deployment_id"] == green]
    assert "50 %" in canary
    assert trial_of(running, green).outcome == "passed"


@pytest.mark.long
def test_a_canary_release_that_fails_requests_ends_without_user_errors(running: Running) -> None:
    """The live release answers each failed request; the step fails with the reason, and the engine stops."""
    blue, serving = running.live(), Serving(running)
    green = serving.started()
    engine = read_identity(running.settings.layout.run / "engines" / green / "process.json")
    found = find_deployment(running.ledger, green)
    assert engine is not None
    assert found is not None
    path = socket_path(found.engine_url or "")
    assert path is not None
    with answers_500(path), streams_of(running, 3, callers(running, green, takers=2, others=1)) as streams:
        fault = serving.end()
    assert fault is not None
    assert "canary release failed" in fault
    assert "requests failed" in fault
    assert streams.faults == []
    assert running.live().deployment_id == blue.deployment_id
    assert state_of(running, green) == "failed"
    wait(lambda: not is_alive(engine))
    assert running.ask().headers["x-release-id"] == blue.release_id


def test_a_killed_engine_ends_the_canary_release(running: Running) -> None:
    """It is not restarted; the live release answers its callers."""
    blue, serving = running.live(), Serving(running)
    green = serving.started()
    with streams_of(running, 2, callers(running, green, takers=0, others=2)) as streams:
        os.kill(running.engine_pid(green), signal.SIGKILL)
        fault = serving.end()
    assert ENGINE_FAILED in (fault or "")
    assert streams.faults == []
    assert (running.live().deployment_id, state_of(running, green)) == (blue.deployment_id, "failed")


@pytest.mark.long
@pytest.mark.parametrize("what", ["supervisor", "gateway", "supervisor and engine"])
def test_a_canary_release_continues_after_killed_processes_restart(running: Running, what: str) -> None:
    """It continues if the engine survived, starts again with a new engine, and ends without an operator."""
    serving = Serving(running)
    green = serving.started()
    before = trial_of(running, green).started_at
    for name in OURS:
        if name in what:
            kill(running, name)
    if "engine" in what:
        os.kill(running.engine_pid(green), signal.SIGKILL)
    with suppress(httpx.HTTPError):
        running.ask()
    start_services(running.settings, OURS)
    with streams_of(running, 2, callers(running, green, takers=2, others=0)) as streams:
        assert serving.end() is None
    assert streams.faults == []
    assert running.live().deployment_id == green
    assert (trial_of(running, green).started_at == before) == ("engine" not in what)


@pytest.mark.long
def test_a_canary_release_ends_after_its_step_is_killed_and_the_next_run_switches(running: Running) -> None:
    """The live release serves meanwhile, and the canary release gets no request after its end."""
    blue, release_id = running.live(), running.release()
    code = (
        "import sys; from pathlib import Path; from fine_tune_assets.ledger.database import open_database;"
        "from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan;"
        "from fine_tune_assets.serving.rollout import deploy_release;"
        f"deploy_release(open_database(sys.argv[1], Path(sys.argv[2])), sys.argv[3], timeout_seconds=120, canary={PLAN!r})"
    )
    step = subprocess.Popen(
        [sys.executable, "-c", code, running.settings.database_url, str(running.ledger.keys), release_id]
    )
    green = started(running)
    step.kill()
    step.wait()
    keys = callers(running, green, takers=2, others=0)
    with streams_of(running, 2, keys) as streams:
        wait(lambda: trial_of(running, green).outcome is not None, 100)
        assert (trial_of(running, green).outcome, running.live().deployment_id) == ("passed", blue.deployment_id)
        reached = streams.whole
        wait(lambda: streams.whole >= reached + 4)
        streams.releases.clear()
        wait(lambda: len(streams.releases) > 0)
        assert streams.releases == {blue.release_id}
        live = deploy_release(running.ledger, release_id, timeout_seconds=120, retention=lambda: KEEP, canary=PLAN)
    assert streams.faults == []
    assert live.deployment_id == green
