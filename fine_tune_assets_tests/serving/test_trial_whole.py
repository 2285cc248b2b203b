"""Trials with real processes and requests under way: a good release comes through, a bad one is ended, and users notice neither.
Whatever is killed, in the end blue is live or green is."""

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
from fine_tune_assets.engines.addresses import socket_of
from fine_tune_assets.engines.processes import is_alive, read_identity
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.gateway.answers.release_trials import takes_part
from fine_tune_assets.ledger.encryption import KEY_NAME, derive_key
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.deployments import find_deployment
from fine_tune_assets.ledger.serving.trial_rows import Trial, TrialPlan, find_trial
from fine_tune_assets.ledger.serving.trials import open_trial
from fine_tune_assets.serving.services import service_environment, start_services
from fine_tune_assets.serving.switch import ServingError, serve_release
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
PLAN = TrialPlan(percent=50, seconds=8, minimum_requests=5, maximum_seconds=90)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("trial"),
        gateway={"port": free_port()},
        threads=1,
        rollback={"minimum_requests": 5},
        trial={"percent": 50},
        drift={"features": False},
    )
    with installation(settings) as made:
        yield made


@dataclass
class Serving:
    """`serve_release` as the step calls it, in a thread."""

    running: Running
    plan: TrialPlan = PLAN
    faults: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.release_id = self.running.release()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            serve_release(
                self.running.ledger, self.release_id, timeout_seconds=120, keep_old=lambda: KEEP, trial=self.plan
            )
        except ServingError as error:
            self.faults.append(error)

    def begun(self) -> str:
        """The deployment, once its trial goes on."""
        return begun(self.running)

    def end(self) -> str | None:
        """Wait for it; what it failed with."""
        self._thread.join(200)
        assert not self._thread.is_alive()
        return str(self.faults[0]) if self.faults else None


def begun(running: Running) -> str:
    def is_so() -> bool:
        found = open_trial(running.ledger)
        return found is not None and found[0].is_under_way

    wait(is_so, 120)
    found = open_trial(running.ledger)
    assert found is not None
    return found[0].deployment_id


def trial_of(running: Running, name: str) -> Trial:
    found = find_trial(running.ledger, name)
    assert found is not None
    return found


def callers(running: Running, name: str, takers: int, others: int) -> list[str]:
    """Keys of so many who take part in the trial of a deployment, and of so many who don't."""
    key = derive_key(read_or_create_key(running.settings.layout.keys, KEY_NAME), "trials")
    found: dict[bool, list[str]] = {True: [], False: []}
    number = 0
    while len(found[True]) < takers or len(found[False]) < others:
        number += 1
        new = create_key(running.ledger, f"{name} {number}", ["chat"])
        found[takes_part(key, name, f"key:{new.key_id}", PLAN.percent)].append(new.secret)
    return found[True][:takers] + found[False][:others]


def kill(running: Running, service: str) -> None:
    identity = read_identity(running.settings.layout.run / f"{service}.pid")
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    wait(lambda: not is_alive(identity))


def test_a_good_release_is_tried_by_some_and_then_serves_all(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stream is lost or cut, and `fine-tune status` tells of it."""
    for name, value in service_environment(running.settings).items():
        monkeypatch.setenv(name, value)
    blue, serving = running.live(), Serving(running)
    green = serving.begun()
    keys = callers(running, green, takers=2, others=2)
    with streams_of(running, 4, keys) as streams:
        wait(lambda: streams.whole >= 4)
        shown = CliRunner().invoke(main, ["status"]).output
        assert serving.end() is None
        reached = streams.whole
        wait(lambda: streams.whole >= reached + 8)
    assert streams.faults == []
    assert streams.releases == {blue.release_id, serving.release_id}
    assert running.live().deployment_id == green
    assert "Trial          50 % of callers until" in shown
    assert trial_of(running, green).outcome == "passed"


def test_a_release_that_fails_its_requests_is_ended_on_trial_and_no_user_sees_one(running: Running) -> None:
    """Each failed request is answered by blue; the step fails with the reason, and the engine is stopped."""
    blue, serving = running.live(), Serving(running)
    green = serving.begun()
    engine = read_identity(running.settings.layout.run / "engines" / green / "process.json")
    found = find_deployment(running.ledger, green)
    assert engine is not None
    assert found is not None
    path = socket_of(found.engine_url or "")
    assert path is not None
    with answers_500(path), streams_of(running, 3, callers(running, green, takers=2, others=1)) as streams:
        fault = serving.end()
    assert fault is not None
    assert "ended on trial" in fault
    assert "requests failed" in fault
    assert streams.faults == []
    assert running.live().deployment_id == blue.deployment_id
    assert state_of(running, green) == "failed"
    wait(lambda: not is_alive(engine))
    assert running.ask().headers["x-release-id"] == blue.release_id


def test_a_green_engine_that_is_killed_on_trial_ends_it(running: Running) -> None:
    """It is not started again behind the back of those who take part: blue answers them."""
    blue, serving = running.live(), Serving(running)
    green = serving.begun()
    with streams_of(running, 2, callers(running, green, takers=0, others=2)) as streams:
        os.kill(running.engine_pid(green), signal.SIGKILL)
        fault = serving.end()
    assert "its engine ended or hung" in (fault or "")
    assert streams.faults == []
    assert (running.live().deployment_id, state_of(running, green)) == (blue.deployment_id, "failed")


@pytest.mark.parametrize("what", ["supervisor", "gateway", "supervisor and engine"])
def test_a_trial_goes_on_when_what_was_killed_is_there_again(running: Running, what: str) -> None:
    """With an engine that outlived the supervisor from where it was, with a new one anew; and it ends by itself."""
    serving = Serving(running)
    green = serving.begun()
    before = trial_of(running, green).begun_at
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
    assert (trial_of(running, green).begun_at == before) == ("engine" not in what)


def test_a_step_that_is_killed_leaves_a_trial_that_ends_and_the_next_run_switches(running: Running) -> None:
    """Blue serves meanwhile, and nobody is sent to green after the trial's end."""
    blue, release_id = running.live(), running.release()
    code = (
        "import sys; from fine_tune_assets.ledger.database import open_ledger;"
        "from fine_tune_assets.ledger.serving.trial_rows import TrialPlan;"
        "from fine_tune_assets.serving.switch import serve_release;"
        f"serve_release(open_ledger(sys.argv[1]), sys.argv[2], timeout_seconds=120, trial={PLAN!r})"
    )
    step = subprocess.Popen([sys.executable, "-c", code, running.settings.database_url, release_id])
    green = begun(running)
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
        live = serve_release(running.ledger, release_id, timeout_seconds=120, keep_old=lambda: KEEP, trial=PLAN)
    assert streams.faults == []
    assert live.deployment_id == green
