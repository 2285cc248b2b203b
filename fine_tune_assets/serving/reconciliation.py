"""Plans the supervisor's next actions from the deployments in the ledger and the state of the engines.

A pure function: it starts and stops nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fine_tune_assets.ledger.serving.deployments import MANUAL, ROLLBACK_READY, Deployment

_HUNG_REASON = "the engine hangs"


@dataclass(frozen=True)
class SupervisorTimings:
    """Intervals and limits of the supervisor."""

    tick_seconds: float = 0.5
    file_check_seconds: float = 5.0
    """Between two looks at the files of the served releases."""
    startup_timeout_seconds: float = 1800.0
    """From the start of an engine to its first answer. vLLM takes up to 3 minutes with a small model on a CPU (measured), and
    large weights on slow disks take longer."""
    warm_up_timeout_seconds: float = 180.0
    """Limit for the first answer, and for each probe's."""
    drain_minimum_seconds: float = 3.0
    """Time for a request that read the previous address just before the switch to connect."""
    drain_maximum_seconds: float = 900.0
    """An answer still in progress this long after the switch is cut off."""
    backoff_maximum_seconds: float = 60.0
    stop_grace_seconds: float = 10.0
    health_check_seconds: float = 5.0
    """Between two health checks of an engine that answered the last one, while no deployment changes. Whether its process is
    alive is looked at in every tick."""
    max_missed_health_checks: int = 118
    """Consecutive missed checks before an engine is stopped. Each takes 2.5 s, so 5 minutes with the wait for the first one: less
    than the gateway's timeout (900 s)."""


@dataclass(frozen=True)
class EngineStatus:
    is_alive: bool
    is_healthy: bool
    is_warm: bool
    started_at: datetime
    retry_at: datetime
    """A dead engine is not restarted before this time."""
    connections: int
    """Requests in progress or queued."""
    missed_health_checks: int
    """Consecutive checks at which the engine hung; see `watched_engines`."""
    unused_since: datetime | None = None
    """When the last deployment that used it ended; None while it is in use."""


@dataclass(frozen=True)
class Action:
    """One step of the supervisor.

    `start`: start the engine. `warm_up`: warm it up, probe it and report it. `fail`: fail the deployment. `keep`: keep the
    drained deployment on standby for a rollback. `retire`: end the deployment and stop its engine. `detach`: end the
    deployment; its engine stops after its last answer. `stop`: stop the engine.
    """

    kind: Literal["start", "warm_up", "fail", "keep", "detach", "retire", "stop"]
    deployment_id: str
    reason: str = ""


def plan_actions(
    deployments: Sequence[Deployment], engines: Mapping[str, EngineStatus], now: datetime, timings: SupervisorTimings
) -> list[Action]:
    """At most one action per deployment, the live one's first, since users are waiting for it."""
    wanted = {d.deployment_id: d for d in deployments if d.state not in ("stopped", "failed")}
    unwanted = {name: _can_stop(engine, now, timings) for name, engine in engines.items() if name not in wanted}
    actions = [Action("stop", name) for name, may_stop in unwanted.items() if may_stop]
    is_answered = any(d.state == "live" and _is_answering(engines.get(d.deployment_id)) for d in wanted.values())
    is_behind = any(_is_outgoing(d, engines.get(d.deployment_id), now) for d in wanted.values())
    is_leaving = (is_behind or not all(unwanted.values())) and is_answered
    for deployment in sorted(wanted.values(), key=lambda d: d.state != "live"):
        engine = engines.get(deployment.deployment_id)
        if deployment.state in ROLLBACK_READY:
            action = _plan_previous(deployment, engine, now, timings, is_answered)
        elif deployment.state == "requested" and is_leaving:
            action = None  # wait for the outgoing engine: two engines fit into memory, three may not
        else:
            action = _plan_current(deployment, engine, now, timings)
        if action is not None:
            actions.append(action)
    return actions


def _can_stop(engine: EngineStatus, now: datetime, timings: SupervisorTimings) -> bool:
    """Wait until an unused engine, such as the one of a failed canary release, has completed its answers."""
    if not engine.is_alive or engine.unused_since is None or engine.connections == 0:
        return True
    return (now - engine.unused_since).total_seconds() >= timings.drain_maximum_seconds


def _is_answering(engine: EngineStatus | None) -> bool:
    return engine is not None and engine.is_alive and engine.is_warm and engine.missed_health_checks == 0


def _is_outgoing(deployment: Deployment, engine: EngineStatus | None, now: datetime) -> bool:
    """A previous deployment that is not kept and still occupies memory."""
    return (
        deployment.state in ROLLBACK_READY and not _is_kept(deployment, now) and engine is not None and engine.is_alive
    )


def _is_kept(deployment: Deployment, now: datetime) -> bool:
    return deployment.standby_until is not None and now < deployment.standby_until


def _plan_current(
    deployment: Deployment, engine: EngineStatus | None, now: datetime, timings: SupervisorTimings
) -> Action | None:
    name = deployment.deployment_id
    if engine is None or deployment.state == "requested":
        return Action("start", name)
    if not engine.is_alive:
        if deployment.state == "starting":
            return Action("fail", name, "the engine ended while starting")
        return Action("start", name) if now >= engine.retry_at else None
    if engine.is_warm:
        return (
            Action("stop", name, _HUNG_REASON)
            if engine.missed_health_checks >= timings.max_missed_health_checks
            else None
        )
    if engine.is_healthy:
        return Action("warm_up", name)
    if (now - engine.started_at).total_seconds() < timings.startup_timeout_seconds:
        return None
    if deployment.state == "starting":
        return Action("fail", name, f"the engine did not start within {timings.startup_timeout_seconds:g} s")
    return Action("stop", name)  # the next tick finds it dead and restarts it


def _plan_previous(
    deployment: Deployment, engine: EngineStatus | None, now: datetime, timings: SupervisorTimings, is_answered: bool
) -> Action | None:
    """Plan a previous deployment: drain it, keep it until `standby_until`, then end it.

    It also stays while the live engine does not answer, since it may be the only engine that can. While it stays, it answers the
    requests that the live engine failed.
    """
    is_kept = _is_kept(deployment, now)
    if engine is None or not engine.is_alive:
        return Action("retire", deployment.deployment_id)
    if engine.missed_health_checks >= timings.max_missed_health_checks:
        return Action("retire", deployment.deployment_id, _HUNG_REASON)
    if not is_answered and not is_kept and deployment.rollback_reason in (None, MANUAL):
        return None
    if deployment.state == "standby":
        return None if is_kept else Action("detach", deployment.deployment_id)
    if not _is_drained(deployment, engine, now, timings):
        return None
    return Action("keep" if is_kept else "retire", deployment.deployment_id)


def _is_drained(deployment: Deployment, engine: EngineStatus, now: datetime, timings: SupervisorTimings) -> bool:
    age = (now - deployment.changed_at).total_seconds()
    return age >= timings.drain_maximum_seconds or (age >= timings.drain_minimum_seconds and engine.connections == 0)
