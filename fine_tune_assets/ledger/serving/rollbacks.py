"""Rolls users back to an earlier deployment, in one transaction if its engine is still running.

A deployment left because of a fault is never a target; one that a person rolled back from is a target only for people.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import TransitionError
from fine_tune_assets.ledger.ledger_tables import deployments as table
from fine_tune_assets.ledger.ledger_tables import releases
from fine_tune_assets.ledger.serving.canary_rows import close_canary
from fine_tune_assets.ledger.serving.deployments import (
    ALLOWED_TRANSITIONS,
    MANUAL,
    ROLLBACK_READY,
    SUPERVISOR,
    Deployment,
    activate_deployment,
    find_live_deployment,
    require_deployment,
    select_deployments,
    update_deployment,
)

FAILED = "failed"
"""`rollback_reason` of a deployment whose engine can't be restarted."""


@dataclass(frozen=True)
class RollbackTarget:
    """The deployment that a rollback would switch to."""

    deployment: Deployment
    is_running: bool


def find_rollback_target(ledger: Ledger, *, is_automatic: bool = False) -> RollbackTarget | None:
    """The best rollback target: a running one, else the last one of a release other than the production model.

    `is_automatic` excludes deployments that a person rolled back from.
    """
    with ledger.read() as connection:
        return next(iter(list_rollback_targets(connection, is_automatic=is_automatic)), None)


def list_rollback_targets(connection: sa.Connection, *, is_automatic: bool = False) -> list[RollbackTarget]:
    """All rollback targets, best first: running ones before stopped ones, and of each the one that served last.

    Each release counts by its latest deployment that served; releases whose folder was removed are excluded.
    """
    live, last = find_live_deployment(connection), dict[str, Deployment]()
    for deployment in _list_served(connection):
        last.setdefault(deployment.release_id, deployment)
    eligible = [
        d for d in last.values() if d.rollback_reason is None or (d.rollback_reason == MANUAL and not is_automatic)
    ]
    running = [d for d in eligible if d.state in ROLLBACK_READY and d.engine_url is not None]
    stopped = [d for d in eligible if d.state == "stopped" and (live is None or d.release_id != live.release_id)]
    return [RollbackTarget(d, is_running=True) for d in running] + [
        RollbackTarget(d, is_running=False) for d in stopped
    ]


def _list_served(connection: sa.Connection) -> list[Deployment]:
    """Deployments that served users, of releases whose folder exists; the latest first."""
    has_folder = table.c.release_id.in_(sa.select(releases.c.release_id).where(releases.c.removed_at.is_(None)))
    found = select_deployments(connection, table.c.live_since.is_not(None) & has_folder)
    return sorted(found, key=lambda d: d.live_since or d.requested_at, reverse=True)


def _find_running_target(connection: sa.Connection, is_automatic: bool) -> Deployment | None:
    return next(
        (back.deployment for back in list_rollback_targets(connection, is_automatic=is_automatic) if back.is_running),
        None,
    )


def roll_back(
    ledger: Ledger,
    by: str,
    *,
    expected_live_id: str | None = None,
    reason: str | None = None,
    standby_until: datetime | None = None,
) -> Deployment:
    """Roll users back to the best running target and return it.

    With `expected_live_id`, does nothing but raise if another deployment is live by now. `reason` is the fault of an automatic
    rollback; the deployment left then gets no standby. Raises TransitionError if no target is running or another deployment is
    live, GateClosedError if the verdict no longer allows the target's release. Errors change nothing.
    """
    with ledger.begin() as connection:
        back, left = _find_running_target(connection, is_automatic=reason is not None), find_live_deployment(connection)
        if back is None:
            raise TransitionError("No earlier deployment is still running, so a rollback is impossible.")
        if expected_live_id is not None and (left is None or left.deployment_id != expected_live_id):
            raise TransitionError(f"Deployment {expected_live_id} is no longer live.")
        new_standby = None if reason else standby_until
        activate_deployment(connection, back, by, standby_until=new_standby, is_rollback=True, reason=reason or MANUAL)
        if left is not None:
            update_deployment(
                connection,
                left.deployment_id,
                detail=f"rolled back automatically: {reason}" if reason else "rolled back manually",
            )
            audit.append(connection, by, "rolled back", f"release {left.release_id}")
        return require_deployment(connection, back.deployment_id)


def exclude_from_rollback(ledger: Ledger, deployment_id: str, reason: str) -> None:
    """No rollback returns to the deployment, because of a fault."""
    with ledger.begin() as connection:
        update_deployment(connection, deployment_id, rollback_reason=reason)


def fail_deployment(ledger: Ledger, deployment_id: str, detail: str) -> Deployment | None:
    """Record a failure; if users were on the deployment, roll them back in the same transaction and return the target.

    Returns None if no target is running or the deployment was not live. Raises TransitionError if it has ended or is
    draining.
    """
    with ledger.begin() as connection:
        failed = require_deployment(connection, deployment_id)
        if "failed" not in ALLOWED_TRANSITIONS[failed.state]:
            raise TransitionError(f"Deployment {deployment_id} can't change from {failed.state} to failed.")
        back = _roll_back_failed(connection, failed) if failed.state == "live" else None
        cleared = {"engine_url": None, "engine_key": None, "standby_until": None}
        update_deployment(connection, deployment_id, state="failed", detail=detail, **cleared)
        close_canary(connection, deployment_id, "failed", detail)
        audit.append(connection, SUPERVISOR, "reported failed", f"deployment {deployment_id}")
        return back


def _roll_back_failed(connection: sa.Connection, failed: Deployment) -> Deployment | None:
    back = _find_running_target(connection, is_automatic=True)
    if back is None:
        return None
    try:
        activate_deployment(connection, back, SUPERVISOR, standby_until=None, is_rollback=True, reason=FAILED)
    except GateClosedError:  # the gate is checked first, so nothing has changed
        return None
    audit.append(connection, SUPERVISOR, "rolled back", f"release {failed.release_id}")
    return require_deployment(connection, back.deployment_id)
