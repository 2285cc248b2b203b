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
from fine_tune_assets.engines.addresses import new_socket, open_client, socket_address
from fine_tune_assets.engines.processes import ProcessIdentity, write_identity
from fine_tune_assets.engines.running_server import LOG, adopt_engine, is_healthy, write_private
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.serving.deployments import (
    Deployment,
    live_deployment,
    open_engine_key,
    switch_live,
    want_release,
)
from fine_tune_assets.ledger.serving.targets import find_targets
from fine_tune_assets.ledger.serving.trial_rows import TrialPlan
from fine_tune_assets.ledger.serving.trials import begin_trial, fail_trial
from fine_tune_assets.serving.reconciliation import Action, Pace
from fine_tune_assets.serving.release_probes import findings_of
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.ledger.made import deployment_of, live_of, trial_of
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.ticking import tick_until
from fine_tune_assets_tests.serving.tiny import (
    build_empty_release,
    build_release,
    engine_of,
    held_connection,
    switched,
)

PLAN = TrialPlan(percent=10, seconds=600, minimum_requests=1, maximum_seconds=6000)
PACE = Pace(drain_minimum_seconds=0.2, stop_grace_seconds=5, startup_seconds=60, silent_looks=2)
NO_MODEL = {MODEL: "not a model"}
"""In place of the weights, where no engine gets so far as to answer: nothing of 100 MB is hashed."""


@contextmanager
def _supervisor(settings: Settings, ledger: Ledger, pace: Pace = PACE) -> Iterator[Supervisor]:
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
    supervisor: Supervisor, settings: Settings, ledger: Ledger, prompt: str = "One.", trial: TrialPlan | None = None
) -> str:
    """A deployment of a new release with the real model, whose engine answers."""
    name = want_release(ledger, build_release(settings, ledger, prompt), trial=trial).deployment_id
    tick_until(supervisor, lambda: _state(ledger, name) == "ready")
    return name


def test_a_wanted_release_becomes_ready_live_and_is_retired_by_the_next(settings: Settings, ledger: Ledger) -> None:
    """The whole life of a deployment, with real engines."""
    with _supervisor(settings, ledger) as supervisor:
        first = _ready(supervisor, settings, ledger)
        live = switch_live(ledger, first)
        assert open_engine_key(read_or_create_key(settings.layout.keys, KEY_NAME), live.deployment_id, live.engine_key)
        findings = findings_of(live.probes)  # a release of before there were probes says so
        assert findings is not None
        assert "not probed" in findings.in_words
        second = _ready(supervisor, settings, ledger, "Two.")
        assert _state(ledger, first) == "live"
        switch_live(ledger, second)
        tick_until(supervisor, lambda: _state(ledger, first) == "stopped")
        assert adopt_engine(settings.layout.run / "engines" / first) is None
        assert engine_of(settings, second)


def _refused(settings: Settings, ledger: Ledger, release_id: str) -> str:
    """Why no engine was started on a release at the supervisor's first look at it."""
    with _supervisor(settings, ledger) as supervisor:
        name = want_release(ledger, release_id).deployment_id
        supervisor.tick(datetime.now(UTC))
    failed = deployment_of(ledger, name)
    assert failed.state == "failed"
    assert not (settings.layout.run / "engines" / name / LOG).exists()
    return failed.detail


@pytest.mark.parametrize("change", ["changed", "added", "removed", "manifest"])
def test_a_changed_file_in_a_release_folder_never_starts(settings: Settings, ledger: Ledger, change: str) -> None:
    """What was approved is what is served, byte for byte, or nothing is."""
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


SIGNATURES = {
    "missing": "is not signed",
    "broken": "does not hold",
    "of another release": "does not hold: 2 files changed",
    "by another key": "was signed by another key",
}


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_release_without_our_signature_never_starts(settings: Settings, ledger: Ledger, signature: str) -> None:
    """Every file may be as its manifest says: who made it is what counts. Of before there were signatures: built again."""
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


def test_a_file_that_is_no_model_fails_with_its_log(settings: Settings, ledger: Ledger) -> None:
    """It verifies, since nobody changed it, and can't be served all the same."""
    release_id = build_empty_release(settings, ledger, "One.", NO_MODEL)
    with _supervisor(settings, ledger) as supervisor:
        deployment = want_release(ledger, release_id).deployment_id
        tick_until(supervisor, lambda: _state(ledger, deployment) == "failed")
    assert "engine.log" in deployment_of(ledger, deployment).detail


def test_a_live_engine_that_is_killed_comes_back_at_a_new_address(settings: Settings, ledger: Ledger) -> None:
    """The kernel kills the largest process when memory runs out."""
    with _supervisor(settings, ledger) as supervisor:
        name = _ready(supervisor, settings, ledger)
        before = switch_live(ledger, name)
        engine = engine_of(settings, name)
        os.kill(engine.identity.pid, signal.SIGKILL)
        tick_until(supervisor, lambda: _address(ledger) is None)
        tick_until(supervisor, lambda: _address(ledger) is not None)
        assert _address(ledger) != before.engine_url
        assert _state(ledger, name) == "live"


def test_an_engine_that_ends_again_and_again_is_started_ever_later(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    """Started at once each time it would take the machine's processors. One that ran for a minute starts afresh."""
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
            assert not started(since)  # its end is noticed
            assert not started(since + seconds - 0.1)
            assert started(since + seconds)
            since += seconds
        _wait_until_ended(settings, name)
        assert started(since + 60)


def _wait_until_ended(settings: Settings, name: str) -> None:
    wait(lambda: adopt_engine(settings.layout.run / "engines" / name) is None)


def test_a_live_engine_that_hangs_while_somebody_waits_is_started_again(settings: Settings, ledger: Ledger) -> None:
    """It is alive, so nobody else would notice: every user would wait for 15 minutes, every time."""
    with _supervisor(settings, ledger, replace(PACE, stop_grace_seconds=0.5)) as supervisor:
        name = _ready(supervisor, settings, ledger)
        before = switch_live(ledger, name)
        engine = engine_of(settings, name)
        with held_connection(engine):
            os.kill(engine.identity.pid, signal.SIGSTOP)
            tick_until(supervisor, lambda: _address(ledger) not in (before.engine_url, None))
        assert not engine.is_alive


def _on_trial(supervisor: Supervisor, settings: Settings, ledger: Ledger) -> tuple[str, str]:
    """What is live, and what is on trial beside it."""
    first = _ready(supervisor, settings, ledger)
    switch_live(ledger, first)
    second = _ready(supervisor, settings, ledger, "Two.", PLAN)
    begin_trial(ledger, second, datetime.now(UTC))
    return first, second


@pytest.mark.parametrize("on_death", [True, False])
def test_an_engine_that_dies_on_trial_ends_it_unless_that_is_turned_off(
    settings: Settings, ledger: Ledger, on_death: bool
) -> None:
    """By the same setting as after a switch. Turned off, it is started again and the trial goes on."""
    with _supervisor(changed(settings, rollback={"on_death": on_death}), ledger) as supervisor:
        live, tried = _on_trial(supervisor, settings, ledger)
        engine = engine_of(settings, tried)
        os.kill(engine.identity.pid, signal.SIGKILL)
        tick_until(supervisor, lambda: not engine.is_alive and _state(ledger, tried) in ("failed", "starting"))
        assert _state(ledger, live) == "live"
        trial = trial_of(ledger, tried)
        assert (_state(ledger, tried), trial.outcome) == (("failed", "failed") if on_death else ("starting", None))
        assert trial.begun_at is not None


def test_a_trial_begins_anew_with_the_engine_that_a_new_supervisor_starts(settings: Settings, ledger: Ledger) -> None:
    """`make down` and `make up` in the middle of it are no fault of the release."""
    with _supervisor(settings, ledger) as supervisor:
        _, tried = _on_trial(supervisor, settings, ledger)
    with _supervisor(settings, ledger) as supervisor:
        trial = trial_of(ledger, tried)
        assert (trial.begun_at, trial.outcome) == (None, None)
        tick_until(supervisor, lambda: _state(ledger, tried) == "ready" and deployment_of(ledger, tried).engine_url)


def test_who_is_answered_by_an_engine_whose_trial_ends_is_answered_to_the_end(
    settings: Settings, ledger: Ledger
) -> None:
    """Then it is stopped: its memory is needed."""
    with _supervisor(settings, ledger) as supervisor:
        _, tried = _on_trial(supervisor, settings, ledger)
        engine = engine_of(settings, tried)
        with held_connection(engine):
            fail_trial(ledger, tried, "a test")
            for _ in range(3):
                assert supervisor.tick(datetime.now(UTC)) == []
            assert engine.is_alive
        tick_until(supervisor, lambda: not engine.is_alive)


def test_a_busy_and_an_idle_engine_are_not_taken_for_one_that_hangs(settings: Settings, ledger: Ledger) -> None:
    """A long answer must never be cut off by a health check that waits in line behind it."""
    with _supervisor(settings, ledger) as supervisor:
        name = _ready(supervisor, settings, ledger)
        switch_live(ledger, name)
        engine = engine_of(settings, name)
        body = {"messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 150}

        def ask() -> int:
            with open_client(engine.url, engine.api_key, 120) as client:
                return client.post("chat/completions", json=body).status_code

        with held_connection(engine), ThreadPoolExecutor(2) as pool:
            looked = [supervisor.tick(datetime.now(UTC)) for _ in range(5)]
            asked = [pool.submit(ask) for _ in range(2)]
            while not all(answer.done() for answer in asked):
                looked.append(supervisor.tick(datetime.now(UTC)))
                time.sleep(0.2)
        assert [answer.result() for answer in asked] == [200, 200]
        assert looked == [[]] * len(looked)


def test_a_live_release_that_was_changed_is_not_started_again(settings: Settings, ledger: Ledger) -> None:
    """Having been live once is no permission."""
    with _supervisor(settings, ledger) as supervisor:
        release_id = build_release(settings, ledger, "One.")
        name = want_release(ledger, release_id).deployment_id
        tick_until(supervisor, lambda: _state(ledger, name) == "ready")
        switch_live(ledger, name)
    (settings.layout.releases / release_id / PROMPT).write_text("{}")
    with _supervisor(settings, ledger) as supervisor:
        supervisor.tick(datetime.now(UTC))
    assert _state(ledger, name) == "failed"
    assert live_deployment(ledger) is None


def _two(supervisor: Supervisor, settings: Settings, ledger: Ledger, keep: timedelta) -> tuple[Deployment, Deployment]:
    """What is kept for as long, and what is live."""
    first = _ready(supervisor, settings, ledger)
    kept = switch_live(ledger, first)
    second = _ready(supervisor, settings, ledger, "Two.")
    live = switch_live(ledger, second, keep_until=datetime.now(UTC) + keep)
    tick_until(supervisor, lambda: _state(ledger, first) == "kept")
    return kept, live


def test_a_live_release_that_cant_be_started_again_is_left_for_the_kept_one(settings: Settings, ledger: Ledger) -> None:
    """Its engine is there, and nobody has to type anything."""
    with _supervisor(settings, ledger) as supervisor:
        kept, live = _two(supervisor, settings, ledger, timedelta(hours=1))
        (settings.layout.releases / live.release_id / PROMPT).write_text("{}")
        engine = engine_of(settings, live.deployment_id)
        os.kill(engine.identity.pid, signal.SIGKILL)
        tick_until(supervisor, lambda: _state(ledger, live.deployment_id) == "failed")
        now_live = live_of(ledger)
        assert (now_live.deployment_id, now_live.engine_url) == (kept.deployment_id, kept.engine_url)
        assert is_healthy(engine_of(settings, kept.deployment_id))


@pytest.mark.slow  # the minute that an engine is given to end
def test_an_engine_that_ends_is_none_in_the_ledger_before_it_is_gone(settings: Settings, ledger: Ledger) -> None:
    """Or a rollback in that second would send users to it."""
    with _supervisor(settings, ledger, replace(PACE, stop_grace_seconds=3)) as supervisor:
        kept, _ = _two(supervisor, settings, ledger, timedelta(seconds=8))
        engine = engine_of(settings, kept.deployment_id)
        os.kill(engine.identity.pid, signal.SIGSTOP)  # it takes its time to end
        ticking = threading.Thread(target=tick_until, args=(supervisor, lambda: not engine.is_alive))
        ticking.start()
        while (found := deployment_of(ledger, kept.deployment_id)).engine_url is not None:
            time.sleep(0.01)
        assert engine.is_alive
        assert found.state == "stopped"
        ticking.join()
        assert not engine.is_alive


def test_who_is_answered_by_a_kept_engine_is_answered_to_the_end(settings: Settings, ledger: Ledger) -> None:
    """A request that the live one failed went over to it: the end of its time must not cut that answer off."""
    with _supervisor(settings, ledger) as supervisor:
        kept, _ = _two(supervisor, settings, ledger, timedelta(seconds=8))
        engine = engine_of(settings, kept.deployment_id)
        with held_connection(engine, is_request=True):
            tick_until(supervisor, lambda: _state(ledger, kept.deployment_id) == "stopped")
            assert kept.deployment_id not in {target.deployment_id for target in find_targets(ledger)}
            for _ in range(3):
                supervisor.tick(datetime.now(UTC))
            assert engine.is_alive
        tick_until(supervisor, lambda: not engine.is_alive)


def test_after_a_power_cut_the_old_address_is_forgotten_at_once(settings: Settings, ledger: Ledger) -> None:
    """Neither supervisor nor engine could say that they ended, and another program may have the port."""
    switched(ledger, "r-1")
    with _supervisor(settings, ledger):
        assert _address(ledger) is None


def test_what_dead_engines_left_behind_is_removed_at_the_start(settings: Settings, ledger: Ledger) -> None:
    """After a power cut there are sockets, keys and pid files of engines that nobody stopped."""
    folder, sockets = settings.layout.run / "engines" / "gone", settings.layout.run / "sockets"
    dead = new_socket(sockets)
    dead.touch()
    write_private(folder / "engine.json", json.dumps({"alias": "r", "url": socket_address(dead), "api_key": "sesame"}))
    write_identity(folder / "process.json", ProcessIdentity(os.getpid(), 1))
    new_socket(sockets).touch()  # of one whose folder is lost
    with _supervisor(settings, ledger):
        assert (list(sockets.iterdir()), list(folder.iterdir())) == ([], [])


def test_an_engine_is_stopped_though_the_ledger_is_away(settings: Settings, ledger: Ledger) -> None:
    """A database that is down must not keep the memory occupied after `make down`."""
    supervisor = Supervisor(settings, ledger, PACE)
    name = _ready(supervisor, settings, ledger)
    engine = engine_of(settings, name)
    with ledger.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE deployments RENAME TO elsewhere")
    supervisor.close()
    assert not engine.is_alive


def test_a_new_supervisor_adopts_the_engines_of_one_that_was_killed(settings: Settings, ledger: Ledger) -> None:
    """A crash of the supervisor must not interrupt those who are being answered."""
    first = Supervisor(settings, ledger, PACE)
    name = _ready(first, settings, ledger)
    switch_live(ledger, name)
    before = engine_of(settings, name)
    with _supervisor(settings, ledger) as second:
        assert second.tick(datetime.now(UTC)) == []
        assert engine_of(settings, name).identity == before.identity
    first.close()
    assert adopt_engine(settings.layout.run / "engines" / name) is None
