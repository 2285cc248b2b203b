import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.releases.release_folders import MODEL, PROMPT
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import new_socket_path, open_client, socket_address
from fine_tune_assets.engines.processes import ProcessIdentity, write_identity
from fine_tune_assets.engines.running_server import LOG_FILE, adopt_engine, is_healthy, write_private_file
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.serving.canary_records import fail_canary, start_canary
from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan
from fine_tune_assets.ledger.serving.deployments import (
    Deployment,
    find_live_deployment,
    open_engine_key,
    request_deployment,
    switch_traffic,
)
from fine_tune_assets.ledger.serving.routing_targets import find_targets
from fine_tune_assets.serving.reconciliation import Action, SupervisorTimings
from fine_tune_assets.serving.release_probes import result_from_json
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.ledger.ledger_rows import deployment_of, live_of, trial_of
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.supervisor_ticks import tick_until
from fine_tune_assets_tests.serving.tiny_releases import (
    build_empty_release,
    build_release,
    engine_of,
    held_connection,
    switched,
)

PLAN = CanaryPlan(traffic_percent=10, duration_seconds=600, minimum_requests=1, maximum_seconds=6000)
PACE = SupervisorTimings(
    drain_minimum_seconds=0.2, stop_grace_seconds=5, startup_timeout_seconds=60, max_missed_health_checks=2
)
NO_MODEL = {MODEL: "not a model"}
"""Replaces the 100 MB of weights, which would have to be hashed, in tests where no engine answers."""


@contextmanager
def _supervisor(settings: Settings, ledger: Ledger, pace: SupervisorTimings = PACE) -> Iterator[Supervisor]:
    supervisor = Supervisor(settings, ledger, pace)
    try:
        yield supervisor
    finally:
        supervisor.close()


def _state(ledger: Ledger, deployment_id: str) -> str:
    return deployment_of(ledger, deployment_id).state


def _address(ledger: Ledger) -> str | None:
    return live_of(ledger).engine_url


def _ready(
    supervisor: Supervisor, settings: Settings, ledger: Ledger, prompt: str = "One.", trial: CanaryPlan | None = None
) -> str:
    """A deployment of a new release with the real model, whose engine answers."""
    name = request_deployment(ledger, build_release(settings, ledger, prompt), canary_plan=trial).deployment_id
    tick_until(supervisor, lambda: _state(ledger, name) == "ready")
    return name


def test_a_release_becomes_ready_then_live_and_the_next_one_retires_it(settings: Settings, ledger: Ledger) -> None:
    """The life cycle of a deployment, with real engines."""
    with _supervisor(settings, ledger) as supervisor:
        first = _ready(supervisor, settings, ledger)
        live = switch_traffic(ledger, first)
        assert open_engine_key(read_or_create_key(settings.layout.keys, KEY_NAME), live.deployment_id, live.engine_key)
        findings = result_from_json(live.probes)  # this release has no probes
        assert findings is not None
        assert "not probed" in findings.summary
        second = _ready(supervisor, settings, ledger, "Two.")
        assert _state(ledger, first) == "live"
        switch_traffic(ledger, second)
        tick_until(supervisor, lambda: _state(ledger, first) == "stopped")
        assert adopt_engine(settings.layout.run / "engines" / first) is None
        assert engine_of(settings, second)


def _refused(settings: Settings, ledger: Ledger, release_id: str) -> str:
    """The reason why the supervisor's first tick started no engine for the release."""
    with _supervisor(settings, ledger) as supervisor:
        name = request_deployment(ledger, release_id).deployment_id
        supervisor.tick(datetime.now(UTC))
    failed = deployment_of(ledger, name)
    assert failed.state == "failed"
    assert not (settings.layout.run / "engines" / name / LOG_FILE).exists()
    return failed.detail


@pytest.mark.parametrize("change", ["changed", "added", "removed", "manifest"])
def test_a_release_with_a_changed_file_is_never_started(settings: Settings, ledger: Ledger, change: str) -> None:
    """Only the approved bytes are served."""
    release_id = build_empty_release(settings, ledger, "One.", NO_MODEL)
    folder = settings.layout.releases / release_id
    if change == "changed":
        (folder / PROMPT).write_text((folder / PROMPT).read_text().replace("One.", "Two."))
    elif change == "added":
        (folder / "extra.py").write_text("")
    elif change == "removed":
        (folder / MODEL).unlink()
    else:
        (folder / "manifest.json").write_text('{"files": {}}')
    assert release_id in _refused(settings, ledger, release_id)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_an_engine_whose_release_was_swapped_while_it_loaded_is_not_used(
    settings: Settings, ledger: Ledger, what: str
) -> None:
    """Somebody may move other weights in after the verification, and the signed ones back when the engine has opened those."""
    folder = settings.layout.releases / build_release(settings, ledger, "One.")
    with _supervisor(settings, ledger) as supervisor:
        name = request_deployment(ledger, folder.name).deployment_id
        supervisor.tick(datetime.now(UTC))
        suspect = engine_of(settings, name).identity
        folder.chmod(0o700)
        moved = next(folder.glob("*.gguf")) if what == "file" else folder
        moved.rename(moved.with_name("aside"))
        moved.with_name("aside").rename(moved)
        tick_until(supervisor, lambda: _state(ledger, name) == "ready")
        assert engine_of(settings, name).identity != suspect


SIGNATURES = {
    "missing": "is not signed",
    "broken": "is invalid",
    "of another release": "is invalid: 2 files changed",
    "by another key": "was signed by the key",
}


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_release_without_a_trusted_signature_is_never_started(
    settings: Settings, ledger: Ledger, signature: str
) -> None:
    """A folder that matches its manifest is not enough: this installation must have signed it."""
    from fine_tune_assets.core.releases.release_signing import sign_release

    other = build_empty_release(settings, ledger, "Two.", NO_MODEL) if signature == "of another release" else ""
    release_id = build_empty_release(settings, ledger, "One.", NO_MODEL)
    folder = settings.layout.releases / release_id
    if signature == "by another key":
        sign_release(folder, release_id, settings.data_dir / "foreign")
    elif other:
        shutil.copy(settings.layout.releases / other / "release.sig", folder)
    elif signature == "broken":
        (folder / "release.sig").write_text("{}")
    else:
        (folder / "release.sig").unlink()
    detail = _refused(settings, ledger, release_id)
    assert SIGNATURES[signature] in detail
    assert "fine-tune materialize releases" in detail


def test_an_unloadable_model_fails_the_deployment_with_its_log(settings: Settings, ledger: Ledger) -> None:
    """A release can be unchanged and still be unservable."""
    release_id = build_empty_release(settings, ledger, "One.", NO_MODEL)
    with _supervisor(settings, ledger) as supervisor:
        deployment = request_deployment(ledger, release_id).deployment_id
        tick_until(supervisor, lambda: _state(ledger, deployment) == "failed")
    assert "engine.log" in deployment_of(ledger, deployment).detail


def test_a_killed_live_engine_restarts_at_a_new_address(settings: Settings, ledger: Ledger) -> None:
    """The kernel kills the largest process when memory is exhausted."""
    with _supervisor(settings, ledger) as supervisor:
        name = _ready(supervisor, settings, ledger)
        before = switch_traffic(ledger, name)
        engine = engine_of(settings, name)
        os.kill(engine.identity.pid, signal.SIGKILL)
        tick_until(supervisor, lambda: _address(ledger) is None)
        tick_until(supervisor, lambda: _address(ledger) is not None)
        assert _address(ledger) != before.engine_url
        assert _state(ledger, name) == "live"


def test_a_crashing_engine_is_restarted_with_increasing_delays(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    """Immediate restarts would occupy the CPU. After a minute of running, the delay is reset."""
    program = tmp_path / "ends"
    program.write_text("#!/bin/sh\nsleep 0.5\nexit 1\n")
    program.chmod(0o700)
    release_id = build_empty_release(settings, ledger, "One.", {})
    name = switched(ledger, release_id).deployment_id
    own, now = changed(settings, llama={"server": str(program)}), datetime.now(UTC)
    with _supervisor(own, ledger, replace(PACE, backoff_maximum_seconds=5)) as supervisor:

        def started(after_seconds: float) -> bool:
            return supervisor.tick(now + timedelta(seconds=after_seconds)) == [Action("start", name)]

        assert started(0)
        since = 0.0
        for seconds in (1, 3, 5, 5):  # 2 ** failures - 1, and no more than five
            _wait_until_ended(settings, name)
            assert not started(since)  # this tick notices its end
            assert not started(since + seconds - 0.1)
            assert started(since + seconds)
            since += seconds
        _wait_until_ended(settings, name)
        assert started(since + 60)


def _wait_until_ended(settings: Settings, name: str) -> None:
    wait(lambda: adopt_engine(settings.layout.run / "engines" / name) is None)


def test_a_live_engine_that_hangs_with_open_requests_is_restarted(settings: Settings, ledger: Ledger) -> None:
    """Its process is alive, so without this check every user would wait for the 15-minute timeout."""
    with _supervisor(settings, ledger, replace(PACE, stop_grace_seconds=0.5)) as supervisor:
        name = _ready(supervisor, settings, ledger)
        before = switch_traffic(ledger, name)
        engine = engine_of(settings, name)
        with held_connection(engine):
            os.kill(engine.identity.pid, signal.SIGSTOP)
            tick_until(supervisor, lambda: _address(ledger) not in (before.engine_url, None))
        assert not engine.is_alive


def _start_canary(supervisor: Supervisor, settings: Settings, ledger: Ledger) -> tuple[str, str]:
    """Ids of the live deployment and the canary release."""
    first = _ready(supervisor, settings, ledger)
    switch_traffic(ledger, first)
    second = _ready(supervisor, settings, ledger, "Two.", PLAN)
    start_canary(ledger, second, datetime.now(UTC))
    return first, second


@pytest.mark.parametrize("on_engine_failure", [True, False])
def test_a_dead_engine_ends_the_canary_release_unless_the_setting_is_off(
    settings: Settings, ledger: Ledger, on_engine_failure: bool
) -> None:
    """`rollback.on_engine_failure` also applies to canary releases. If off, the engine restarts and the canary continues."""
    with _supervisor(changed(settings, rollback={"on_engine_failure": on_engine_failure}), ledger) as supervisor:
        live, tried = _start_canary(supervisor, settings, ledger)
        engine = engine_of(settings, tried)
        os.kill(engine.identity.pid, signal.SIGKILL)
        tick_until(supervisor, lambda: not engine.is_alive and _state(ledger, tried) in ("failed", "starting"))
        assert _state(ledger, live) == "live"
        trial = trial_of(ledger, tried)
        assert (_state(ledger, tried), trial.outcome) == (
            ("failed", "failed") if on_engine_failure else ("starting", None)
        )
        assert trial.started_at is not None


def test_a_canary_release_restarts_with_the_engine_of_a_new_supervisor(settings: Settings, ledger: Ledger) -> None:
    """`make down` and `make up` must not count against the release."""
    with _supervisor(settings, ledger) as supervisor:
        _, tried = _start_canary(supervisor, settings, ledger)
    with _supervisor(settings, ledger) as supervisor:
        trial = trial_of(ledger, tried)
        assert (trial.started_at, trial.outcome) == (None, None)
        tick_until(supervisor, lambda: _state(ledger, tried) == "ready" and deployment_of(ledger, tried).engine_url)


def test_requests_in_progress_are_completed_when_a_canary_release_ends(settings: Settings, ledger: Ledger) -> None:
    """The engine stops only after its last answer."""
    with _supervisor(settings, ledger) as supervisor:
        _, tried = _start_canary(supervisor, settings, ledger)
        engine = engine_of(settings, tried)
        with held_connection(engine):
            fail_canary(ledger, tried, "a test")
            for _ in range(3):
                assert supervisor.tick(datetime.now(UTC)) == []
            assert engine.is_alive
        tick_until(supervisor, lambda: not engine.is_alive)


def test_busy_and_idle_engines_do_not_count_as_hung(settings: Settings, ledger: Ledger) -> None:
    """A health check queued behind a long answer must not end that answer."""
    with _supervisor(settings, ledger) as supervisor:
        name = _ready(supervisor, settings, ledger)
        switch_traffic(ledger, name)
        engine = engine_of(settings, name)
        body = {"messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 150}

        def ask() -> int:
            with open_client(engine.url, engine.api_key, 120) as client:
                return client.post("chat/completions", json=body).status_code

        with held_connection(engine), ThreadPoolExecutor(2) as pool:
            ticks = [supervisor.tick(datetime.now(UTC)) for _ in range(5)]
            asked = [pool.submit(ask) for _ in range(2)]
            while not all(answer.done() for answer in asked):
                ticks.append(supervisor.tick(datetime.now(UTC)))
                time.sleep(0.2)
        assert [answer.result() for answer in asked] == [200, 200]
        assert ticks == [[]] * len(ticks)


def test_a_changed_live_release_is_not_restarted(settings: Settings, ledger: Ledger) -> None:
    """A release must verify at each start, even if it was live before."""
    with _supervisor(settings, ledger) as supervisor:
        release_id = build_release(settings, ledger, "One.")
        name = request_deployment(ledger, release_id).deployment_id
        tick_until(supervisor, lambda: _state(ledger, name) == "ready")
        switch_traffic(ledger, name)
    (settings.layout.releases / release_id / PROMPT).write_text("{}")
    with _supervisor(settings, ledger) as supervisor:
        supervisor.tick(datetime.now(UTC))
    assert _state(ledger, name) == "failed"
    assert find_live_deployment(ledger) is None


def _kept_and_live(
    supervisor: Supervisor, settings: Settings, ledger: Ledger, keep: timedelta
) -> tuple[Deployment, Deployment]:
    """The previous deployment, kept for `keep`, and the live one."""
    first = _ready(supervisor, settings, ledger)
    kept = switch_traffic(ledger, first)
    second = _ready(supervisor, settings, ledger, "Two.")
    live = switch_traffic(ledger, second, standby_until=datetime.now(UTC) + keep)
    tick_until(supervisor, lambda: _state(ledger, first) == "standby")
    return kept, live


def test_traffic_switches_to_the_kept_release_if_the_live_one_cant_restart(settings: Settings, ledger: Ledger) -> None:
    """The kept engine is still running, so no operator is needed."""
    with _supervisor(settings, ledger) as supervisor:
        kept, live = _kept_and_live(supervisor, settings, ledger, timedelta(hours=1))
        (settings.layout.releases / live.release_id / PROMPT).write_text("{}")
        engine = engine_of(settings, live.deployment_id)
        os.kill(engine.identity.pid, signal.SIGKILL)
        tick_until(supervisor, lambda: _state(ledger, live.deployment_id) == "failed")
        now_live = live_of(ledger)
        assert (now_live.deployment_id, now_live.engine_url) == (kept.deployment_id, kept.engine_url)
        assert is_healthy(engine_of(settings, kept.deployment_id))


@pytest.mark.slow  # an engine has a minute to end
def test_a_stopping_engine_is_withdrawn_from_the_ledger_first(settings: Settings, ledger: Ledger) -> None:
    """Otherwise a concurrent rollback would send users to it."""
    with _supervisor(settings, ledger, replace(PACE, stop_grace_seconds=3)) as supervisor:
        kept, _ = _kept_and_live(supervisor, settings, ledger, timedelta(seconds=8))
        engine = engine_of(settings, kept.deployment_id)
        os.kill(engine.identity.pid, signal.SIGSTOP)  # it ends slowly
        ticking = threading.Thread(target=tick_until, args=(supervisor, lambda: not engine.is_alive))
        ticking.start()
        while (found := deployment_of(ledger, kept.deployment_id)).engine_url is not None:
            time.sleep(0.01)
        assert engine.is_alive
        assert found.state == "stopped"
        ticking.join()
        assert not engine.is_alive


def test_a_kept_engine_completes_its_answers_after_its_retention(settings: Settings, ledger: Ledger) -> None:
    """It may be answering a request that the live engine failed."""
    with _supervisor(settings, ledger) as supervisor:
        kept, _ = _kept_and_live(supervisor, settings, ledger, timedelta(seconds=8))
        engine = engine_of(settings, kept.deployment_id)
        with held_connection(engine, is_request=True):
            tick_until(supervisor, lambda: _state(ledger, kept.deployment_id) == "stopped")
            assert kept.deployment_id not in {target.deployment_id for target in find_targets(ledger)}
            for _ in range(3):
                supervisor.tick(datetime.now(UTC))
            assert engine.is_alive
        tick_until(supervisor, lambda: not engine.is_alive)


def test_after_a_power_failure_the_old_engine_address_is_cleared(settings: Settings, ledger: Ledger) -> None:
    """Supervisor and engine could not record their end, and another program may use the address."""
    switched(ledger, "r-1")
    with _supervisor(settings, ledger):
        assert _address(ledger) is None


def test_files_of_dead_engines_are_removed_at_the_start(settings: Settings, ledger: Ledger) -> None:
    """A power failure leaves sockets, keys and pid files."""
    folder, sockets = settings.layout.run / "engines" / "gone", settings.layout.run / "sockets"
    dead = new_socket_path(sockets)
    dead.touch()
    write_private_file(
        folder / "engine.json", json.dumps({"alias": "r", "url": socket_address(dead), "api_key": "sesame"})
    )
    write_identity(folder / "process.json", ProcessIdentity(os.getpid(), 1))
    new_socket_path(sockets).touch()  # an engine without a folder
    with _supervisor(settings, ledger):
        assert (list(sockets.iterdir()), list(folder.iterdir())) == ([], [])


def test_an_engine_is_stopped_even_if_the_ledger_is_unreachable(settings: Settings, ledger: Ledger) -> None:
    """`make down` must free the memory in any case."""
    supervisor = Supervisor(settings, ledger, PACE)
    name = _ready(supervisor, settings, ledger)
    engine = engine_of(settings, name)
    with ledger.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE deployments RENAME TO elsewhere")
    supervisor.close()
    assert not engine.is_alive


def test_a_new_supervisor_adopts_the_engines_of_a_killed_one(settings: Settings, ledger: Ledger) -> None:
    """A crash of the supervisor must not interrupt answers."""
    first = Supervisor(settings, ledger, PACE)
    name = _ready(first, settings, ledger)
    switch_traffic(ledger, name)
    before = engine_of(settings, name)
    with _supervisor(settings, ledger) as second:
        assert second.tick(datetime.now(UTC)) == []
        assert engine_of(settings, name).identity == before.identity
    first.close()
    assert adopt_engine(settings.layout.run / "engines" / name) is None
