"""The supervisor (`fine-tune run supervisor`): runs one engine for each deployment that the ledger requests.

It verifies a release, starts its engine, warms it up, probes it and reports it ready; restarts the live engine; and keeps or
stops the previous one after its last answer. `reconciliation` plans these steps. It also starts and ends canary releases
(`canary_releases`) and rolls back automatically (`rollback_rules`), but never switches to a new release.
"""

import logging
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue

from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import FileStates, read_states
from fine_tune_assets.core.releases.release_folders import ReleaseError, ReleaseFolder
from fine_tune_assets.core.releases.release_signing import SignedReleases
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import count_connections
from fine_tune_assets.engines.running_server import (
    EngineError,
    adopt_engine,
    is_healthy,
    stop_engine,
    stop_recorded_engine,
    warm_up,
)
from fine_tune_assets.engines.shared_vllm import stop_if_hung, stop_unused
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.commit_counter import CommitCounter
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.serving.canary_records import fail_canary, find_open_canary, interrupt_canary
from fine_tune_assets.ledger.serving.deployments import (
    CHANGED_RELEASE,
    ENDED,
    PENDING,
    ROLLBACK_READY,
    SUPERVISOR,
    Deployment,
    State,
    clear_engine,
    find_deployment,
    find_live_deployment,
    list_current_deployments,
    record_state,
    request_deployment,
    seal_engine_key,
    switch_traffic,
)
from fine_tune_assets.ledger.serving.imported_releases import find_import_key
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.ledger.serving.rollbacks import (
    exclude_from_rollback,
    fail_deployment,
    find_rollback_target,
    roll_back,
)
from fine_tune_assets.serving.adapter_releases import shared_root
from fine_tune_assets.serving.canary_releases import advance_canary
from fine_tune_assets.serving.engine_start import find_base, require_memory, start_engine
from fine_tune_assets.serving.fault_tolerance import describe_error, log_and_continue
from fine_tune_assets.serving.orphaned_engines import ENGINES_FOLDER, remove_dead_sockets, single_instance_lock
from fine_tune_assets.serving.reconciliation import Action, EngineStatus, SupervisorTimings, plan_actions
from fine_tune_assets.serving.release_probes import ProbeError, probe_engine, result_to_json
from fine_tune_assets.serving.release_watch import ChangedRelease, ReleaseWatch, read_base_states
from fine_tune_assets.serving.rollback_rules import ENGINE_FAILED, REPORT_TIME, RollbackWatch, is_crash_explained
from fine_tune_assets.serving.watched_engines import WatchedEngine, missed_health_checks

HEARTBEAT_FILE = "supervisor.heartbeat"
_SETTLED = ("live", "standby")
"""States of a deployment between changes."""
_STABLE_SECONDS = 60.0
"""An engine that ran this long is not in a crash loop: it is restarted without delay."""
_log = logging.getLogger(__name__)


class Supervisor:
    """Observes, plans and acts once per tick. Used from one thread."""

    def __init__(self, settings: Settings, ledger: Ledger, timings: SupervisorTimings) -> None:
        self._settings, self._ledger, self._timings = settings, ledger, timings
        self._key = ledger.key
        self._engines_dir = settings.layout.run / ENGINES_FOLDER
        self._engines_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._watched: dict[str, WatchedEngine] = {}
        self._releases = SignedReleases(settings.layout.keys)
        self._changed: SimpleQueue[ChangedRelease] = SimpleQueue()
        self._commits = CommitCounter(settings.database_url)
        self._deployments: tuple[int | None, Sequence[Deployment]] | None = None
        self._adopt()

    def _adopt(self) -> None:
        """Adopt engines that outlived the last supervisor, without interrupting users, and clean up after the others."""
        now = datetime.now(UTC)
        for folder in self._engines_dir.iterdir():
            engine, deployment = adopt_engine(folder), find_deployment(self._ledger, folder.name)
            is_warm = engine is not None and deployment is not None and deployment.engine_url == engine.url
            is_loading = not is_warm and deployment is not None and deployment.state in (*PENDING, "live")
            if engine is None or is_loading:
                # Kills what is left of the engine, or one that was loading: its files may have been changed meanwhile.
                stop_recorded_engine(folder, self._timings.stop_grace_seconds)
            else:
                self._watched[folder.name] = WatchedEngine(engine, now, now, is_warm=is_warm)
                _log.info("adopted the engine of deployment %s", folder.name)
        stop_unused(shared_root(self._settings))
        remove_dead_sockets(self._settings, [watched.engine.url for watched in self._watched.values()])
        for deployment in list_current_deployments(self._ledger):
            if deployment.deployment_id not in self._watched:
                clear_engine(self._ledger, deployment.deployment_id)
                interrupt_canary(self._ledger, deployment.deployment_id)

    def tick(self, now: datetime) -> list[Action]:
        """Apply the planned actions and return them."""
        while not self._changed.empty():
            self._take_out(self._changed.get())
        deployments = self._list_deployments()
        in_use = {d.deployment_id for d in deployments if d.state != "draining"}
        for name in self._watched.keys() - {d.deployment_id for d in deployments}:
            self._watched[name].unused_since = self._watched[name].unused_since or now
        is_settled = all(d.state in _SETTLED for d in deployments)
        check_interval = timedelta(seconds=self._timings.health_check_seconds if is_settled else 0)
        statuses = {name: self._observe(name, now, name not in in_use, check_interval) for name in self._watched}
        actions = plan_actions(deployments, statuses, now, self._timings)
        by_id = {d.deployment_id: d for d in deployments}
        for action in actions:
            because = f": {action.reason}" if action.reason else ""
            _log.info("%s deployment %s%s", action.kind, action.deployment_id, because)
            with log_and_continue(f"{action.kind} {action.deployment_id}"):
                self._apply(action, by_id.get(action.deployment_id), now)
        return actions

    def _list_deployments(self) -> Sequence[Deployment]:
        """The current deployments, read again only after a commit in the ledger."""
        version = self._commits.read()
        if self._deployments is None or version is None or self._deployments[0] != version:
            self._deployments = version, list_current_deployments(self._ledger)
        return self._deployments[1]

    def report_changed(self, changed: ChangedRelease) -> None:
        """Stop the engine of a changed release at once, and have the next tick record it. Can be called from any thread: a tick
        can take minutes."""
        self._changed.put(changed)
        clear_engine(self._ledger, changed.deployment_id)
        stop_recorded_engine(self._engines_dir / changed.deployment_id, 0)

    def _take_out(self, changed: ChangedRelease) -> None:
        """Stop an engine with changed files at once: what it would still answer is not what was judged."""
        deployment = find_deployment(self._ledger, changed.deployment_id)
        if deployment is None or deployment.state in ENDED:
            return
        _log.error("deployment %s: %s", changed.deployment_id, changed.reason)
        audit.append(self._ledger, SUPERVISOR, CHANGED_RELEASE, f"deployment {changed.deployment_id}")
        if deployment.state in ROLLBACK_READY:
            record_state(self._ledger, deployment.deployment_id, "stopped", detail=changed.reason)
            exclude_from_rollback(self._ledger, deployment.deployment_id, CHANGED_RELEASE)
            self._stop(deployment.deployment_id, forget=True, kill=True)
        else:
            self._fail(deployment, changed.reason, kill=True)

    def _observe(self, name: str, now: datetime, is_draining: bool, check_interval: timedelta) -> EngineStatus:
        watched = self._watched[name]
        is_alive = watched.engine.is_alive
        if watched.was_alive and not is_alive:
            clear_engine(self._ledger, name)
            self._record_death(name, watched, now)
        if not is_alive:
            self._fail_canary_if_at_fault(name, watched, now)
        return EngineStatus(
            is_alive=is_alive,
            is_healthy=is_alive and (watched.is_warm or is_healthy(watched.engine)),
            is_warm=watched.is_warm,
            started_at=watched.started_at,
            retry_at=watched.retry_at,
            connections=count_connections(watched.engine.url) if is_draining else 0,
            missed_health_checks=missed_health_checks(watched, now, check_interval)
            if is_alive and watched.is_warm and not is_draining
            else 0,
            unused_since=watched.unused_since,
        )

    def _fail_canary_if_at_fault(self, name: str, watched: WatchedEngine, now: datetime) -> None:
        """End a canary release whose engine stopped, unless a request explains it: then it starts over with a new engine."""
        if not self._settings.rollback.on_engine_failure:
            return
        down_since, deployment = watched.down_since or now, find_deployment(self._ledger, name)
        if deployment is None or deployment.state == "live":
            return
        # Since its request: one stop can always be explained, several need one cause.
        if is_crash_explained(self._ledger, name, deployment.requested_at, down_since, now):
            if now - down_since >= REPORT_TIME:
                interrupt_canary(self._ledger, name)
        elif fail_canary(self._ledger, name, ENGINE_FAILED):
            _log.warning("canary release of deployment %s failed: %s", name, ENGINE_FAILED)

    def _record_death(self, name: str, watched: WatchedEngine, now: datetime) -> None:
        has_been_stable = (now - watched.started_at).total_seconds() >= _STABLE_SECONDS
        watched.failures = 0 if has_been_stable else watched.failures + 1
        delay = min(self._timings.backoff_maximum_seconds, 2.0**watched.failures - 1)
        deployment = find_deployment(self._ledger, name)
        if deployment is not None and deployment.state != "live":
            # Its canary release is judged first.
            delay = max(delay, REPORT_TIME.total_seconds() + 2 * self._timings.tick_seconds)
        watched.was_alive, watched.is_warm, watched.retry_at = False, False, now + timedelta(seconds=delay)
        watched.down_since = now

    def _apply(self, action: Action, deployment: Deployment | None, now: datetime) -> None:
        if action.kind == "stop" or deployment is None:
            # A deployment that still exists is stopped only because its engine hangs.
            if deployment is not None:
                self._stop_shared(action.deployment_id)
            self._stop(action.deployment_id, forget=deployment is None, kill=deployment is not None)
        elif action.kind == "start":
            self._start(deployment, now)
        elif action.kind == "warm_up":
            self._warm_up(deployment)
        elif action.kind == "fail":
            self._fail(deployment, action.reason)
        elif action.kind == "keep":
            record_state(self._ledger, deployment.deployment_id, "standby", detail=deployment.detail)
        elif action.kind == "detach":
            # Its engine is then unused, and stopped when it has no connections or they took too long.
            record_state(self._ledger, deployment.deployment_id, "stopped", detail=deployment.detail)
        else:
            # Recorded first, so that no concurrent rollback or request selects an engine that is about to stop.
            record_state(self._ledger, deployment.deployment_id, "stopped", detail=action.reason or deployment.detail)
            if action.reason:
                self._stop_shared(deployment.deployment_id)
            self._stop(deployment.deployment_id, forget=True, kill=bool(action.reason))

    def _start(self, deployment: Deployment, now: datetime) -> None:
        """Verify the signature and every file first: a changed release is never started, even if it is live."""
        folder = self._engines_dir / deployment.deployment_id
        try:
            files = self._read_files(deployment)
            release = self._verify(deployment)
            files |= read_base_states(find_base(release, self._settings))
            if deployment.state != "live":
                require_memory(release, self._settings)
                record_state(self._ledger, deployment.deployment_id, "starting")
            engine = start_engine(release, folder, self._settings)
        except (ReleaseError, EngineError) as error:
            self._fail(deployment, str(error))
            return
        before = self._watched.get(deployment.deployment_id)
        failures = before.failures if before else 0
        self._watched[deployment.deployment_id] = WatchedEngine(engine, now, now, files, failures=failures)

    def _read_files(self, deployment: Deployment) -> FileStates:
        release = find_release(self._ledger, deployment.release_id)
        if release is None:
            raise ReleaseError(f"Release {deployment.release_id} is not in the ledger.")
        try:
            return read_states(self._settings.data_dir / release.folder)
        except OSError as error:
            raise ReleaseError(f"Release {deployment.release_id} can't be read ({type(error).__name__}).") from error

    def _verify(self, deployment: Deployment) -> ReleaseFolder:
        release = find_release(self._ledger, deployment.release_id)
        if release is None:
            raise ReleaseError(f"Release {deployment.release_id} is not in the ledger.")
        key = find_import_key(self._ledger, release.release_id)
        return self._releases.verify(self._settings.data_dir / release.folder, release.release_id, key)

    def _warm_up(self, deployment: Deployment) -> None:
        watched = self._watched[deployment.deployment_id]
        try:
            release = self._verify(deployment)
            files = self._read_files(deployment) | read_base_states(find_base(release, self._settings))
            if files != watched.files:
                _log.error(
                    "deployment %s: files changed while its engine loaded them: it starts again",
                    deployment.deployment_id,
                )
                self._stop(deployment.deployment_id, forget=True, kill=True)
                return
            warm_up(watched.engine, release.system_prompt, self._timings.warm_up_timeout_seconds)
            probes = result_to_json(probe_engine(watched.engine, release, self._timings.warm_up_timeout_seconds))
        except (EngineError, ReleaseError, ProbeError) as error:
            if deployment.state == "live" and isinstance(error, EngineError):
                self._stop(deployment.deployment_id, forget=False, kill=True)
            else:
                self._fail(deployment, str(error))
            return
        watched.is_warm = True
        state: State = "live" if deployment.state == "live" else "ready"
        sealed = seal_engine_key(self._key, deployment.deployment_id, watched.engine.api_key)
        record_state(
            self._ledger,
            deployment.deployment_id,
            state,
            engine_url=watched.engine.url,
            engine_key=sealed,
            probes=probes,
        )

    def _fail(self, deployment: Deployment, reason: str, *, kill: bool = False) -> None:
        log = self._engines_dir / deployment.deployment_id / "engine.log"
        hint = f" See {log}." if log.exists() and "See " not in reason else ""
        fail_deployment(self._ledger, deployment.deployment_id, reason + hint)
        self._stop(deployment.deployment_id, forget=True, kill=kill)

    def _stop(self, name: str, forget: bool, kill: bool = False, *, is_closing: bool = False) -> None:
        """Withdraw the address first; an unreachable ledger must not prevent stopping."""
        if name in self._watched:
            with log_and_continue(f"clear the engine address of deployment {name}"):
                clear_engine(self._ledger, name)
            engine = self._watched[name].engine
            # During a tick, the engine has drained or exceeded its time to drain, so do not wait for its answers again.
            may_wait = is_closing or not engine.is_drained_first
            stop_engine(engine, self._timings.stop_grace_seconds, kill=kill or not may_wait)
            if engine.shared_folder:
                stop_unused(shared_root(self._settings))  # if the server was killed before it could
            if forget:
                del self._watched[name]

    def _stop_shared(self, name: str) -> None:
        """Stop the process that deployments share if it is what hangs. Each of them then starts again."""
        watched = self._watched.get(name)
        if watched is not None and watched.engine.shared_folder:
            stop_if_hung(Path(watched.engine.shared_folder), watched.engine.alias)

    def close(self) -> None:
        """Stop every engine. The deployments stay in the ledger and are started again by the next supervisor."""
        with ThreadPoolExecutor() as pool:  # in parallel: each may take a minute for its last answers
            list(pool.map(lambda name: self._stop(name, forget=True, is_closing=True), list(self._watched)))


def run_supervisor(settings: Settings, timings: SupervisorTimings | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises SupervisorError if another supervisor runs on the same data folder."""
    timings = timings or SupervisorTimings()
    shutdown = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: shutdown.set())
    with single_instance_lock(settings.layout.run):
        ledger = open_ledger(settings)
        supervisor = Supervisor(settings, ledger, timings)
        # In a separate thread, because hashing large weights and probing delay a tick, and a rollback must not wait for them.
        watchers = [
            threading.Thread(target=_watch_live_release, args=(settings, ledger, timings, shutdown)),
            threading.Thread(target=_watch_files, args=(settings, ledger, supervisor, timings, shutdown)),
        ]
        for watcher in watchers:
            watcher.start()
        try:
            while not shutdown.is_set():
                with log_and_continue("supervisor tick"):
                    supervisor.tick(datetime.now(UTC))
                (settings.layout.run / HEARTBEAT_FILE).touch()
                shutdown.wait(timings.tick_seconds)
        finally:
            shutdown.set()
            for watcher in watchers:
                watcher.join()
            supervisor.close()
            ledger.close()


def _watch_files(
    settings: Settings, ledger: Ledger, supervisor: Supervisor, timings: SupervisorTimings, shutdown: threading.Event
) -> None:
    """Look for changed files of served releases until `shutdown` is set. If none is live afterwards, return to an earlier one."""
    watch, is_pending = ReleaseWatch(settings, ledger), False
    while not shutdown.wait(timings.file_check_seconds):
        with log_and_continue("watch the files of the releases"):
            for changed in watch.find_changed(datetime.now(UTC)):
                is_pending = True
                supervisor.report_changed(changed)
            is_pending = is_pending and not _restore_service(ledger)


def _restore_service(ledger: Ledger) -> bool:
    """One step back to the last release that is intact, if no running one has taken over. Returns whether one is live."""
    live = find_live_deployment(ledger)
    if live is not None:
        return live.engine_url is not None
    back = find_rollback_target(ledger, is_automatic=True)
    if back is not None and back.is_running:
        roll_back(ledger, SUPERVISOR, reason=CHANGED_RELEASE)
    elif back is not None:
        requested = request_deployment(ledger, back.deployment.release_id, SUPERVISOR, is_rollback=True)
        if requested.state == "ready":
            switch_traffic(ledger, requested.deployment_id, SUPERVISOR)
    return False


def _watch_live_release(
    settings: Settings, ledger: Ledger, timings: SupervisorTimings, shutdown: threading.Event
) -> None:
    """Advance the canary release and roll back the live release if a limit is exceeded, until `shutdown` is set."""
    limits, last_fault = settings.rollback, ""
    watch = RollbackWatch(ledger, settings.layout.run / ENGINES_FOLDER, limits)
    commits = CommitCounter(settings.database_url)
    unwatched_at: int | None = None
    while not shutdown.wait(timings.tick_seconds):
        with log_and_continue("look for a release to watch"):
            version = commits.read()
            if version is not None and version == unwatched_at:
                continue
            unwatched_at = None if watch.is_needed(datetime.now(UTC)) or find_open_canary(ledger) else version
        with log_and_continue("advance the canary release"):
            change = advance_canary(ledger, settings, datetime.now(UTC))
            if change is not None:
                _log.info(change)
        try:
            reason = watch.roll_back_if_needed(datetime.now(UTC))
            fault = f"rolled back: {reason}" if reason is not None else ""
        except (FineTuneError, SQLAlchemyError, OSError) as error:  # retried at the next tick
            fault = f"watch the live release: {describe_error(error)}"
        if fault and fault != last_fault:
            _log.warning(fault)
        last_fault = fault
