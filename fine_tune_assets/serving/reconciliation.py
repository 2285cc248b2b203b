"""What the supervisor should do next: a pure decision from what is wanted and what runs.

Owns the rules of starting, restarting, draining and giving up. Starts and stops nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fine_tune_assets.ledger.serving.deployments import BEHIND, BY_HAND, Deployment

_HANGS = "the engine hangs"


@dataclass(frozen=True)
class Pace:
    """How patient the supervisor is. Seconds."""

    tick_seconds: float = 0.5
    startup_seconds: float = 1800.0
    """From the start of an engine to its first answer. vLLM takes up to 3 minutes with a small model on a CPU (measured), and
    large weights on slow disks take longer."""
    warm_up_seconds: float = 180.0
    """Of one answer: the first, and each probe's."""
    drain_minimum_seconds: float = 3.0
    """A request that read the old address just before the switch must have connected by then."""
    drain_maximum_seconds: float = 900.0
    """An answer that takes longer after the switch is cut off."""
    backoff_maximum_seconds: float = 60.0
    stop_grace_seconds: float = 10.0
    silent_looks: int = 120
    """Looks in a row at an engine that hangs before it is ended. Each takes 2.5 s, so 5 minutes: before the gateway gives
    up on it (900 s)."""


@dataclass(frozen=True)
class EngineView:
    """What is known about the engine of one deployment."""

    is_alive: bool
    is_healthy: bool
    is_warm: bool
    started_at: datetime
    retry_at: datetime
    """Not to be started again before, once it is dead."""
    connections: int
    """Requests that it is answering or has in line."""
    silent_looks: int
    """Looks in a row at which it hung, as `watched_engines` says."""
    unwanted_since: datetime | None = None
    """Since when no deployment wants it: failed, on trial perhaps, given up, or kept long enough."""


@dataclass(frozen=True)
class Action:
    """`start` an engine, `warm` it up and report it, `fail` the deployment, `keep` it after draining for a rollback, `retire` it,
    `dismiss` it: nobody is sent there any more, and the engine stops when its last answer is out; `stop` the engine."""

    kind: Literal["start", "warm", "fail", "keep", "dismiss", "retire", "stop"]
    deployment_id: str
    reason: str = ""


def next_actions(
    deployments: Sequence[Deployment], engines: Mapping[str, EngineView], now: datetime, pace: Pace
) -> list[Action]:
    """At most one action a deployment, the live one's first: users wait for that one."""
    wanted = {d.deployment_id: d for d in deployments if d.state not in ("stopped", "failed")}
    unwanted = {name: _may_stop(engine, now, pace) for name, engine in engines.items() if name not in wanted}
    actions = [Action("stop", name) for name, may_stop in unwanted.items() if may_stop]
    is_answered = any(d.state == "live" and _answers(engines.get(d.deployment_id)) for d in wanted.values())
    is_behind = any(_is_leaving(d, engines.get(d.deployment_id), now) for d in wanted.values())
    is_leaving = (is_behind or not all(unwanted.values())) and is_answered
    for deployment in sorted(wanted.values(), key=lambda d: d.state != "live"):
        engine = engines.get(deployment.deployment_id)
        if deployment.state in BEHIND:
            action = _next_of_old(deployment, engine, now, pace, is_answered)
        elif deployment.state == "wanted" and is_leaving:
            action = None  # two engines fit on the machine, three may not
        else:
            action = _next_action(deployment, engine, now, pace)
        if action is not None:
            actions.append(action)
    return actions


def _may_stop(engine: EngineView, now: datetime, pace: Pace) -> bool:
    """Whoever was sent there while it was on trial, or kept, gets the answer to its end."""
    if not engine.is_alive or engine.unwanted_since is None or engine.connections == 0:
        return True
    return (now - engine.unwanted_since).total_seconds() >= pace.drain_maximum_seconds


def _answers(engine: EngineView | None) -> bool:
    return engine is not None and engine.is_alive and engine.is_warm and engine.silent_looks == 0


def _is_leaving(deployment: Deployment, engine: EngineView | None, now: datetime) -> bool:
    """Served before, is not kept, and still takes its memory."""
    return deployment.state in BEHIND and not _is_kept(deployment, now) and engine is not None and engine.is_alive


def _is_kept(deployment: Deployment, now: datetime) -> bool:
    return deployment.keep_until is not None and now < deployment.keep_until


def _next_action(deployment: Deployment, engine: EngineView | None, now: datetime, pace: Pace) -> Action | None:
    name = deployment.deployment_id
    if engine is None or deployment.state == "wanted":
        return Action("start", name)
    if not engine.is_alive:
        if deployment.state == "starting":
            return Action("fail", name, "the engine ended while starting")
        return Action("start", name) if now >= engine.retry_at else None
    if engine.is_warm:
        return Action("stop", name, _HANGS) if engine.silent_looks >= pace.silent_looks else None
    if engine.is_healthy:
        return Action("warm", name)
    if (now - engine.started_at).total_seconds() < pace.startup_seconds:
        return None
    if deployment.state == "starting":
        return Action("fail", name, f"the engine was not up after {pace.startup_seconds:g} s")
    return Action("stop", name)  # it is dead at the next look, and started again then


def _next_of_old(
    deployment: Deployment, engine: EngineView | None, now: datetime, pace: Pace, is_answered: bool
) -> Action | None:
    """What served before: drained first, then kept as long as it was said at the switch, and in any case while the live engine
    does not answer: it may be the last one that can. Kept, it answers whom the live one failed, and ends no sooner than that."""
    is_kept = _is_kept(deployment, now)
    if engine is None or not engine.is_alive:
        return Action("retire", deployment.deployment_id)
    if engine.silent_looks >= pace.silent_looks:
        return Action("retire", deployment.deployment_id, _HANGS)
    if not is_answered and not is_kept and deployment.rollback_reason in (None, BY_HAND):
        return None
    if deployment.state == "kept":
        return None if is_kept else Action("dismiss", deployment.deployment_id)
    if not _is_drained(deployment, engine, now, pace):
        return None
    return Action("keep" if is_kept else "retire", deployment.deployment_id)


def _is_drained(deployment: Deployment, engine: EngineView, now: datetime, pace: Pace) -> bool:
    age = (now - deployment.changed_at).total_seconds()
    return age >= pace.drain_maximum_seconds or (age >= pace.drain_minimum_seconds and engine.connections == 0)
