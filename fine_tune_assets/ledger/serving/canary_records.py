"""Starts, ends and finds canary releases: a ready deployment answers a share of users before all are switched to it.

`serving.canary_releases` judges the results; `canary_rows` stores the rows.
"""

from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, read_transaction
from fine_tune_assets.ledger.ledger_tables import canary_releases, deployment_outcomes
from fine_tune_assets.ledger.ledger_tables import deployments as deployments_table
from fine_tune_assets.ledger.serving.canary_rows import CanaryRelease, close_canary, find_canary, set_canary_start
from fine_tune_assets.ledger.serving.deployments import (
    PENDING,
    SUPERVISOR,
    Deployment,
    find_live_deployment,
    require_deployment,
    select_deployments,
    update_deployment,
)
from fine_tune_assets.ledger.serving.release_records import find_release, require_promotable


def find_open_canary(ledger: Ledger) -> tuple[CanaryRelease, Deployment] | None:
    """The requested or running canary release of a pending deployment. There is at most one."""
    with ledger.read() as connection:
        unended = sa.select(canary_releases.c.deployment_id).where(canary_releases.c.ended_at.is_(None))
        is_open = deployments_table.c.deployment_id.in_(unended) & deployments_table.c.state.in_(PENDING)
        found = select_deployments(connection, is_open)
        canary = find_canary(connection, found[-1].deployment_id) if found else None
        return None if canary is None else (canary, found[-1])


def start_canary(ledger: Ledger, deployment_id: str, now: datetime) -> None:
    """Start the canary release of a ready deployment with an engine; otherwise, or if it already started or ended, do nothing.

    Waives it if no other engine serves users: then no user could be kept off it, and failed requests could not fall back.
    """
    with ledger.begin() as connection:
        deployment, canary = require_deployment(connection, deployment_id), find_canary(connection, deployment_id)
        is_ready = deployment.state == "ready" and deployment.engine_url is not None
        if canary is None or canary.started_at is not None or canary.ended_at is not None or not is_ready:
            return
        live = find_live_deployment(connection)
        if live is None or live.engine_url is None:
            close_canary(connection, deployment_id, "waived", "no other engine answers users")
            return
        # After an interruption, earlier failures of the lost engine must not count against the new one.
        counted = deployment_outcomes.c.deployment_id == deployment_id
        connection.execute(deployment_outcomes.delete().where(counted))
        set_canary_start(connection, deployment_id, now)
        audit.append(connection, SUPERVISOR, "started canary release", f"deployment {deployment_id}")


def interrupt_canary(ledger: Ledger, deployment_id: str) -> None:
    """Reset the start: the engine was lost with the supervisor, and the canary release restarts with a new engine."""
    with ledger.begin() as connection:
        set_canary_start(connection, deployment_id, None)


def pass_canary(ledger: Ledger, deployment_id: str, reason: str) -> None:
    """Clear the deployment to go live, subject to its verdict. Does nothing if no canary release is running."""
    with ledger.begin() as connection:
        canary = find_canary(connection, deployment_id)
        if canary is None or not canary.is_running:
            return
        close_canary(connection, deployment_id, "passed", reason)
        audit.append(connection, SUPERVISOR, "passed canary release", f"deployment {deployment_id}")


def fail_canary(ledger: Ledger, deployment_id: str, reason: str) -> bool:
    """Fail the deployment and stop routing users to it; the live one stays. False if no canary release is running."""
    with ledger.begin() as connection:
        canary = find_canary(connection, deployment_id)
        if (
            canary is None
            or not canary.is_running
            or require_deployment(connection, deployment_id).state not in PENDING
        ):
            return False
        close_canary(connection, deployment_id, "failed", reason)
        gone = {"engine_url": None, "engine_key": None}
        update_deployment(connection, deployment_id, state="failed", detail=f"canary release failed: {reason}", **gone)
        audit.append(connection, SUPERVISOR, "failed canary release", f"deployment {deployment_id}")
        return True


def find_closed_gate(target: Ledger | sa.Connection, release_id: str) -> str | None:
    """Why the release's verdict no longer allows a canary release; None if it does."""
    with read_transaction(target) as connection:
        release = find_release(connection, release_id)
        if release is None:
            return f"unknown release {release_id}"
        try:
            require_promotable(connection, release)
        except GateClosedError as error:
            return str(error)
        return None


def find_routable_canary(ledger: Ledger, deployment_id: str, now: datetime) -> CanaryRelease | None:
    """The running canary release, if requests may be routed to it now: its engine is up and its verdict allows it."""
    with ledger.read() as connection:
        canary = find_canary(connection, deployment_id)
        if canary is None or not canary.is_running or canary.deadline is None or now >= canary.deadline:
            return None
        deployment = require_deployment(connection, deployment_id)
        is_up = deployment.state == "ready" and deployment.engine_url is not None
        return canary if is_up and find_closed_gate(connection, deployment.release_id) is None else None
