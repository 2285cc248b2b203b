"""The supervisor (`fine-tune serve`): makes what the ledger wants so, one engine a deployment.

Owns engines: it verifies a release, starts an engine on it, warms it up, asks its probes, reports it ready, keeps the live one
running, and keeps or ends the old one when its last answer is out. The decisions are in `reconciliation`. It begins and ends
trials (`trials`), and sends users to nothing new: back, at most (`rollback_rules`).
"""

import logging
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.releases.release_folders import ReleaseError, ReleaseFolder
from fine_tune_assets.core.releases.release_signing import SignedReleases
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.addresses import open_connections
from fine_tune_assets.engines.running_server import (
    EngineError,
    adopt_engine,
    is_healthy,
    stop_engine,
    stop_recorded_engine,
    warm_up,
)
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.serving.deployments import (
    Deployment,
    State,
    current_deployments,
    find_deployment,
    report_state,
    seal_engine_key,
    withdraw_engine,
)
from fine_tune_assets.ledger.serving.imported_releases import key_of_import
from fine_tune_assets.ledger.serving.releases import find_release
from fine_tune_assets.ledger.serving.rollbacks import fail_deployment
from fine_tune_assets.ledger.serving.trials import fail_trial, interrupt_trial
from fine_tune_assets.serving.engine_start import require_room, start_for
from fine_tune_assets.serving.fault_tolerance import going_on, in_words
from fine_tune_assets.serving.left_engines import ENGINES, forget_dead_sockets, only_one
from fine_tune_assets.serving.reconciliation import Action, EngineView, Pace, next_actions
from fine_tune_assets.serving.release_probes import ProbeError, findings_json, probe_engine
from fine_tune_assets.serving.rollback_rules import ENGINE_GONE, look_and_roll_back
from fine_tune_assets.serving.trials import look_at_trial
from fine_tune_assets.serving.watched_engines import Watched, silent_looks_at

HEARTBEAT = "supervisor.heartbeat"
_STABLE_SECONDS = 60.0
"""An engine that ran this long is not in a crash loop: the next restart is at once."""
_log = logging.getLogger(__name__)


class Supervisor:
    """Looks, decides and acts once a tick. Owned by one thread."""

    def __init__(self, settings: Settings, ledger: Ledger, pace: Pace) -> None:
        self._settings, self._ledger, self._pace = settings, ledger, pace
        self._key = read_or_create_key(settings.layout.keys, KEY_NAME)
        self._engines_dir = settings.layout.run / ENGINES
        self._engines_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._watched: dict[str, Watched] = {}
        self._releases = SignedReleases(settings.layout.keys)
        self._adopt()

    def _adopt(self) -> None:
        """Go on with engines that outlived the last supervisor, unnoticed by their users, and forget those that did not."""
        now = datetime.now(UTC)
        for folder in self._engines_dir.iterdir():
            engine = adopt_engine(folder)
            if engine is None:
                stop_recorded_engine(folder, self._pace.stop_grace_seconds)  # what it left behind
            else:
                deployment = find_deployment(self._ledger, folder.name)
                is_warm = deployment is not None and deployment.engine_url == engine.url
                self._watched[folder.name] = Watched(engine, now, now, is_warm)
                _log.info("adopted the engine of deployment %s", folder.name)
        forget_dead_sockets(self._settings, [watched.engine.url for watched in self._watched.values()])
        for deployment in current_deployments(self._ledger):
            if deployment.deployment_id not in self._watched:
                withdraw_engine(self._ledger, deployment.deployment_id)
                interrupt_trial(self._ledger, deployment.deployment_id)

    def tick(self, now: datetime) -> list[Action]:
        """Do what is to be done now; returns it."""
        deployments = current_deployments(self._ledger)
        stays_up = {d.deployment_id for d in deployments if d.state != "draining"}
        for name in self._watched.keys() - {d.deployment_id for d in deployments}:
            self._watched[name].unwanted_since = self._watched[name].unwanted_since or now
        views = {name: self._view(name, now, name not in stays_up) for name in self._watched}
        actions = next_actions(deployments, views, now, self._pace)
        by_id = {d.deployment_id: d for d in deployments}
        for action in actions:
            _log.info("%s deployment %s %s", action.kind, action.deployment_id, action.reason)
            with going_on(f"{action.kind} {action.deployment_id}"):
                self._do(action, by_id.get(action.deployment_id), now)
        return actions

    def _view(self, name: str, now: datetime, is_draining: bool) -> EngineView:
        watched = self._watched[name]
        is_alive = watched.engine.is_alive
        if watched.was_alive and not is_alive:
            withdraw_engine(self._ledger, name)
            if self._settings.rollback.on_death and fail_trial(self._ledger, name, ENGINE_GONE):
                _log.warning("trial of deployment %s failed: %s", name, ENGINE_GONE)
            self._note_death(watched, now)
        return EngineView(
            is_alive=is_alive,
            is_healthy=is_alive and (watched.is_warm or is_healthy(watched.engine)),
            is_warm=watched.is_warm,
            started_at=watched.started_at,
            retry_at=watched.retry_at,
            connections=open_connections(watched.engine.url) if is_draining else 0,
            silent_looks=silent_looks_at(watched) if is_alive and watched.is_warm and not is_draining else 0,
            unwanted_since=watched.unwanted_since,
        )

    def _note_death(self, watched: Watched, now: datetime) -> None:
        has_been_stable = (now - watched.started_at).total_seconds() >= _STABLE_SECONDS
        watched.failures = 0 if has_been_stable else watched.failures + 1
        delay = min(self._pace.backoff_maximum_seconds, 2.0**watched.failures - 1)
        watched.was_alive, watched.is_warm, watched.retry_at = False, False, now + timedelta(seconds=delay)

    def _do(self, action: Action, deployment: Deployment | None, now: datetime) -> None:
        if action.kind == "stop" or deployment is None:
            # What is still wanted is stopped since it hangs.
            self._stop(action.deployment_id, forget=deployment is None, is_hung=deployment is not None)
        elif action.kind == "start":
            self._start(deployment, now)
        elif action.kind == "warm":
            self._warm(deployment)
        elif action.kind == "fail":
            self._fail(deployment, action.reason)
        elif action.kind == "keep":
            report_state(self._ledger, deployment.deployment_id, "kept", detail=deployment.detail)
        elif action.kind == "dismiss":
            # Its engine is nobody's then, and is stopped as one: without connections, or when those took too long.
            report_state(self._ledger, deployment.deployment_id, "stopped", detail=deployment.detail)
        else:
            # Said first: whoever rolls back, or asks for an engine, in this moment must not be sent to one that is going away.
            report_state(self._ledger, deployment.deployment_id, "stopped", detail=action.reason or deployment.detail)
            self._stop(deployment.deployment_id, forget=True, is_hung=bool(action.reason))

    def _start(self, deployment: Deployment, now: datetime) -> None:
        """Verify signature and every file first: a release that was changed is never started, not even one that is live."""
        folder = self._engines_dir / deployment.deployment_id
        try:
            release = self._verify(deployment)
            if deployment.state != "live":
                require_room(release, self._settings)
                report_state(self._ledger, deployment.deployment_id, "starting")
            engine = start_for(release, folder, self._settings)
        except (ReleaseError, EngineError) as error:
            self._fail(deployment, str(error))
            return
        before = self._watched.get(deployment.deployment_id)
        failures = before.failures if before else 0
        self._watched[deployment.deployment_id] = Watched(engine, now, now, failures=failures)

    def _verify(self, deployment: Deployment) -> ReleaseFolder:
        release = find_release(self._ledger, deployment.release_id)
        if release is None:
            raise ReleaseError(f"Release {deployment.release_id} is not in the ledger.")
        key = key_of_import(self._ledger, release.release_id)
        return self._releases.verify(self._settings.data_dir / release.folder, release.release_id, key)

    def _warm(self, deployment: Deployment) -> None:
        watched = self._watched[deployment.deployment_id]
        try:
            release = self._verify(deployment)
            warm_up(watched.engine, release.system_prompt, self._pace.warm_up_seconds)
            probes = findings_json(probe_engine(watched.engine, release, self._pace.warm_up_seconds))
        except (EngineError, ReleaseError, ProbeError) as error:
            if deployment.state == "live" and isinstance(error, EngineError):
                self._stop(deployment.deployment_id, forget=False, is_hung=True)
            else:
                self._fail(deployment, str(error))
            return
        watched.is_warm = True
        state: State = "live" if deployment.state == "live" else "ready"
        sealed = seal_engine_key(self._key, deployment.deployment_id, watched.engine.api_key)
        report_state(
            self._ledger,
            deployment.deployment_id,
            state,
            engine_url=watched.engine.url,
            engine_key=sealed,
            probes=probes,
        )

    def _fail(self, deployment: Deployment, reason: str) -> None:
        log = self._engines_dir / deployment.deployment_id / "engine.log"
        hint = f" See {log}." if log.exists() and "See " not in reason else ""
        fail_deployment(self._ledger, deployment.deployment_id, reason + hint)
        self._stop(deployment.deployment_id, forget=True)

    def _stop(self, name: str, forget: bool, is_hung: bool = False, *, is_closing: bool = False) -> None:
        """Its address goes first; a ledger that is away must not keep it running."""
        if name in self._watched:
            with going_on(f"withdraw {name}"):
                withdraw_engine(self._ledger, name)
            engine = self._watched[name].engine
            # In a tick nobody is answered any more, or draining took too long: what SIGTERM cuts off is not waited for again.
            is_waited_for = is_closing or not engine.cuts_off
            stop_engine(engine, self._pace.stop_grace_seconds, is_hung=is_hung or not is_waited_for)
            if forget:
                del self._watched[name]

    def close(self) -> None:
        """Stop every engine. What the ledger wants stays wanted, and is started again next time."""
        with ThreadPoolExecutor() as pool:  # together: each may take a minute for its last answers
            list(pool.map(lambda name: self._stop(name, forget=True, is_closing=True), list(self._watched)))


def supervise(settings: Settings, pace: Pace | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises SupervisorError when another supervisor runs on the same data folder."""
    pace = pace or Pace()
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    with only_one(settings.layout.run):
        ledger = open_ledger(settings.database_url)
        supervisor = Supervisor(settings, ledger, pace)
        # A thread of its own: hashing large weights and asking probes hold a tick up, and users must not wait for that.
        watch = threading.Thread(target=_watch_switches, args=(settings, ledger, pace, ending))
        watch.start()
        try:
            while not ending.is_set():
                with going_on("tick"):
                    supervisor.tick(datetime.now(UTC))
                (settings.layout.run / HEARTBEAT).touch()
                ending.wait(pace.tick_seconds)
        finally:
            ending.set()
            watch.join()
            supervisor.close()
            ledger.close()


def _watch_switches(settings: Settings, ledger: Ledger, pace: Pace, ending: threading.Event) -> None:
    """Take users back from a release that does badly, live or on trial, until `ending`."""
    limits, engines_dir, told = settings.rollback, settings.layout.run / ENGINES, ""
    while not ending.wait(pace.tick_seconds):
        with going_on("look at the trial"):
            done = look_at_trial(ledger, limits, datetime.now(UTC))
            if done is not None:
                _log.info(done)
        try:
            reason = look_and_roll_back(ledger, engines_dir, limits, datetime.now(UTC))
            fault = f"rolled back: {reason}" if reason is not None else ""
        except (FineTuneError, SQLAlchemyError, OSError) as error:  # looked at again in a moment
            fault = f"watch the live release: {in_words(error)}"
        if fault and fault != told:
            _log.warning(fault)
        told = fault
